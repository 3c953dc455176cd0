"""A killed syscall server's successor goes on where it was, without the applications doing anything."""

import errno
import os
import random
import select
import signal
import threading

from neat.abi.messages import PROTO_UDP, Address, Message, Op
from tests.syscalls.conftest import pair, receive


def listener(world, client, port=80):
    bound, ours = client.bind(port)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=9))
    for replica in world.replicas:
        replica.take(Op.ADD_LISTENER)
    reply, _ = client.answer()
    return bound.bind_id, reply.sock, ours


def test_successor_has_ports_sockets_and_segments(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    bind_id, sock, _ours = listener(world, client)
    _reply, fds = client.ask(Message(Op.SEGMENT, replica=0))
    world.kill()
    world.start()
    # Replicas that run on hear of it again: the predecessor may have died half way.
    told, _ = world.replicas[0].take(Op.ADD_LISTENER)
    assert (told.bind_id, told.sock, told.backlog) == (bind_id, sock, 9)
    again = world.client()
    reply, _ = again.ask(Message(Op.JOIN, app=client.app, token=client.token))
    assert (reply.error, reply.replica) == (0, 0b11)
    assert again.bind(80)[0].error == errno.EADDRINUSE
    _reply, same = again.ask(Message(Op.SEGMENT, replica=0))
    assert os.fstat(same[0]).st_ino == os.fstat(fds[0]).st_ino
    assert again.bind(81)[0].bind_id > bind_id
    # A new replica gets the old listener.
    assert world.replicas[1].take(Op.ADD_LISTENER)[0].bind_id == bind_id
    told = world.replicas[1].hello(incarnation=2)
    assert [message.op for message in told] == [Op.ATTACH, Op.ADD_LISTENER]


def test_successor_notices_what_was_closed_meanwhile(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    bind_id, _sock, ours = listener(world, client)
    world.kill()
    ours.close()
    world.start()
    again = world.client()
    again.ask(Message(Op.JOIN, app=client.app, token=client.token))
    for _ in range(50):
        reply, end = again.bind(80)
        if reply.error == 0:
            break
        end.close()
    assert reply.error == 0
    assert f"bind.{bind_id}" not in world.store.kept


def test_application_that_died_meanwhile_is_forgotten(world):
    world.bring_up(0)
    pid = os.fork()
    if pid == 0:
        child = world.client()
        child.hello()
        child.ask(Message(Op.SEGMENT, replica=0))
        signal.pause()
        os._exit(0)
    try:
        attach, _ = receive(world.replicas[0].sock)
        world.kill()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    world.start()
    gone, _ = world.replicas[0].take(Op.APP_GONE, answer=False)
    assert gone.app == attach.app


def test_udp_socket_lives_on(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    _ours, theirs = pair()
    client.send(Message(Op.BIND, local=Address.ipv4("0.0.0.0", 53, PROTO_UDP)), [theirs.fileno()])
    theirs.close()
    for replica in world.replicas:
        replica.take(Op.ADD_UDP)
    bound, _ = client.answer()
    world.kill()
    world.start()
    for replica in world.replicas:
        message, _ = replica.take(Op.ADD_UDP)
        assert (message.sock, message.bind_id, message.local.port) == (bound.sock, bound.bind_id, 53)


def test_replica_that_started_meanwhile_gets_its_welcome(world):
    world.bring_up(0)
    world.kill()
    world.replicas[1].sock.send(Message(Op.REPLICA_HELLO, seq=1, replica=1, incarnation=5).pack())
    world.start()
    message, _ = world.replicas[1].take(Op.WELCOME, answer=False)
    assert (message.op, message.seq, message.incarnation) == (Op.WELCOME, 1, 5)


def test_reply_that_a_predecessor_did_not_read_is_passed_over(world):
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    world.kill()
    # Killed between a request and its answer: the answer is the first thing that the successor reads.
    world.store_theirs.send(b'{"op": "get", "name": "no.such", "seq": 1}')
    world.start()
    again = world.client()
    assert again.ask(Message(Op.JOIN, app=client.app, token=client.token))[0].error == 0


def test_answer_to_a_predecessor_is_not_taken_for_one_to_the_successor(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(80)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id))
    message, _ = world.replicas[0].take(Op.ADD_LISTENER, answer=False)
    world.kill()
    world.replicas[0].answer(message)
    world.start()
    again = world.client()
    again.ask(Message(Op.JOIN, app=client.app, token=client.token))
    world.replicas[0].take(Op.ADD_LISTENER)  # the briefing
    again.send(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=7))
    repeated, _ = world.replicas[0].take(Op.ADD_LISTENER, answer=False)
    assert repeated.seq != message.seq
    assert not select.select([again.sock], [], [], 0.1)[0]
    world.replicas[0].answer(repeated)
    assert again.answer()[0].error == 0


def answer_all(replica, over):
    """A replica that agrees to everything."""
    while not over.is_set():
        ready, _, _ = select.select([replica.sock], [], [], 0.05)
        if ready:
            message, fds = receive(replica.sock)
            for fd in fds:
                os.close(fd)
            if message.op in (Op.ADD_LISTENER, Op.ADD_UDP):
                replica.answer(message)


class Restless:
    """An application that opens and closes listeners, and joins again when the server was killed under it."""

    def __init__(self, world):
        self.world = world
        self.client = world.client()
        self.client.hello()
        self.held = {}  # port -> (bind_id, the application's end)

    def rejoin(self):
        old, self.client = self.client, self.world.client()
        reply, _ = self.client.ask(Message(Op.JOIN, app=old.app, token=old.token))
        assert reply.error == 0
        self.client.app, self.client.token = old.app, old.token
        old.close()

    def step(self, port):
        """Open a listener on this port, or close the one that is there. False: the server was killed."""
        if port in self.held:
            self.held.pop(port)[1].close()
            return True
        try:
            bound, end = self.client.bind(port)
            if bound.error == 0:
                self.held[port] = bound.bind_id, end
                self.client.ask(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=1))
            else:
                assert bound.error == errno.EADDRINUSE  # its hang-up has not been seen yet
                end.close()
        except (ConnectionError, AssertionError):
            return False
        return True


def test_killed_at_any_moment(world):
    """What is open stays known, what is closed is forgotten, and nothing else is left in the store."""
    rng = random.Random(3)
    world.bring_up(0, 1)
    over = threading.Event()
    threads = [threading.Thread(target=answer_all, args=(replica, over)) for replica in world.replicas]
    for thread in threads:
        thread.start()
    try:
        app = Restless(world)
        for _ in range(6):
            killer = threading.Timer(rng.random() * 0.03, world.process.kill)
            killer.start()
            while app.step(rng.randrange(5000, 5020)):
                pass
            killer.join()
            world.process.wait(20)
            world.start()
            app.rejoin()
        while app.held:
            port, (bind_id, end) = app.held.popitem()
            assert f"bind.{bind_id}" in world.store.kept
            reply, other = app.client.bind(port)
            assert reply.error == errno.EADDRINUSE
            other.close()
            end.close()
        for _ in range(1000):
            app.client.ask(Message(Op.PREFER))
            if not any(name.startswith("bind.") for name in list(world.store.kept)):
                break
        assert sorted(world.store.kept) == [
            *(f"app.{app.client.app}.{k}{what}" for k in (0, 1) for what in ("", ".bell")),
            "syscall.record",
        ]
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
