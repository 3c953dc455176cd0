"""What the preload library asks for beside what `neat.socket` does: an application by its token, pollers,
sockets after exec."""

import errno
import os
import socket
import struct

import msgspec
import pytest

from neat.abi.messages import BindFlag, Message, Op
from tests.support import wait_for
from tests.syscalls.conftest import Client, inode_of, pair

TOKEN = 0x1234_5678_9ABC_DEF0


@pytest.fixture
def client(world):
    world.bring_up(0, 1)
    made = world.client()
    made.hello(TOKEN)
    yield made
    made.close()


def segment(client, slot=0):
    reply, fds = client.ask(Message(Op.SEGMENT, replica=slot))
    assert reply.error == 0
    for fd in fds:
        os.close(fd)
    return reply


def test_the_same_token_is_the_same_application(world, client):
    child, stranger = world.client(), world.client()
    child.hello(TOKEN)
    stranger.hello(TOKEN + 2)
    assert (child.app, child.token) == (client.app, TOKEN)
    assert stranger.app != client.app
    anonymous = world.client()
    anonymous.hello()
    assert anonymous.app not in (client.app, stranger.app)
    assert anonymous.token not in (0, TOKEN)


def test_one_connection_is_one_application(client):
    assert client.ask(Message(Op.HELLO, token=TOKEN))[0].error == 0
    assert client.ask(Message(Op.HELLO, token=TOKEN + 2))[0].error == errno.EISCONN


def client_of_another_user(world):
    """The way to the socket may be closed to others, at any time: /proc asks for no right to it."""
    os.chmod(world.path, 0o666)
    door = os.open(world.path, os.O_PATH | os.O_CLOEXEC)
    os.setegid(65534)
    os.seteuid(65534)
    try:
        return Client(f"/proc/self/fd/{door}")
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.close(door)


@pytest.fixture
def stranger(world):
    """A connection of another user."""
    if os.geteuid() != 0:
        pytest.skip("needs another user id")
    made = client_of_another_user(world)
    yield made
    made.close()


def test_another_user_registers_nothing(client, stranger):
    assert stranger.ask(Message(Op.HELLO, token=TOKEN + 2))[0].error == errno.EACCES
    assert stranger.ask(Message(Op.HELLO))[0].error == errno.EACCES


def test_a_worker_without_rights_joins_with_what_it_knows(client, stranger):
    assert stranger.ask(Message(Op.JOIN, app=client.app, token=TOKEN + 2))[0].error == errno.ESRCH
    reply, _ = stranger.ask(Message(Op.JOIN, app=client.app, token=TOKEN))
    assert (reply.error, reply.app) == (0, client.app)


def test_a_program_of_another_user_is_the_application_whose_token_it_was_given(client, stranger):
    reply, _ = stranger.ask(Message(Op.HELLO, token=TOKEN))
    assert (reply.error, reply.app) == (0, client.app)


def test_a_program_of_another_user_may_come_late(world, client, stranger):
    """When the one that it came from is gone, and the server's successor has never seen it."""

    def deserted():
        return world.counter("apps_gone") == world.counter("apps_registered")

    client.close()
    wait_for(deserted, 60, "the application is forgotten")
    reply, _ = stranger.ask(Message(Op.HELLO, token=TOKEN))
    assert reply.error == 0
    stranger.close()
    wait_for(deserted, 60, "and again")
    world.kill()
    world.start()
    late = client_of_another_user(world)
    assert late.ask(Message(Op.HELLO, token=TOKEN + 2))[0].error == errno.EACCES
    assert late.ask(Message(Op.HELLO, token=TOKEN))[0].error == 0
    late.close()


def test_the_application_outlives_the_server(world, client):
    world.kill()
    world.start()
    again = world.client()
    again.hello(TOKEN)
    assert again.app == client.app


def test_a_poller_goes_to_its_replica(world, client):
    attached = segment(client)
    request = Message(Op.POLLER, replica=0, incarnation=attached.incarnation, u=(7,))
    reply, (bell,) = client.ask(request)
    assert reply.error == 0
    order, fds = world.replicas[0].take(Op.ADD_POLLER, answer=False)
    assert (order.app, order.incarnation, order.u[0]) == (client.app, attached.incarnation, 7)
    os.write(fds[0], b"b")
    assert os.read(bell, 2) == b"b"
    # The application cannot make a write of the replica wait.
    os.set_blocking(bell, True)
    assert not os.get_blocking(fds[0])
    # Nobody else holds it: when the replica's copy is closed, it hangs up.
    for fd in fds:
        os.close(fd)
    assert os.read(bell, 1) == b""
    os.close(bell)


def test_a_cord_goes_to_its_replica(world, client):
    attached = segment(client)
    numbers = []
    for _ in range(2):
        reply, (cord,) = client.ask(Message(Op.CORD, replica=0, incarnation=attached.incarnation))
        order, fds = world.replicas[0].take(Op.ADD_CORD, answer=False)
        assert (order.app, order.incarnation) == (client.app, attached.incarnation)
        assert order.u[0] == reply.u[0] != 0
        numbers.append(order.u[0])
        ours, theirs = socket.socket(fileno=cord), socket.socket(fileno=fds.pop())
        ours.send(b"up")
        assert theirs.recv(10) == b"up"
        # Nobody else holds either end.
        theirs.close()
        assert ours.recv(1) == b""
        ours.close()
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize("op", [Op.POLLER, Op.CORD])
def test_pollers_and_cords_that_cannot_be(world, client, op):
    attached = segment(client)

    def answer(replica, incarnation):
        reply, fds = client.ask(Message(op, replica=replica, incarnation=incarnation))
        return reply.error, fds

    assert answer(0, attached.incarnation + 1) == (errno.ESTALE, [])
    assert answer(9, attached.incarnation) == (errno.ENXIO, [])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_program_after_exec_finds_its_listener(world, client, restarted):
    bound, ours = client.bind(80, flags=BindFlag.REUSEADDR)
    client.send(Message(Op.LISTEN, bind_id=bound.bind_id, backlog=16, u=(5,)))
    for replica in world.replicas:
        assert replica.take(Op.ADD_LISTENER)[0].u[0] == 5
    listening, _ = client.answer()
    client.close()
    if restarted:
        world.kill()
        world.start()
    program = world.client()
    program.hello(TOKEN)
    reply, _ = program.ask(Message(Op.ADOPT, u=inode_of(ours)))
    assert (reply.error, reply.bind_id, reply.sock) == (0, bound.bind_id, listening.sock)
    assert (reply.local.port, reply.backlog, reply.options) == (80, 16, BindFlag.REUSEADDR)
    assert reply.replica == 0b11


def test_a_bound_socket_that_does_not_listen_has_no_backlog(client):
    bound, ours = client.bind(80)
    reply, _ = client.ask(Message(Op.ADOPT, u=inode_of(ours)))
    assert (reply.error, reply.bind_id, reply.backlog) == (0, bound.bind_id, -1)


def test_nobody_adopts_what_is_not_its_own(world, client):
    _bound, ours = client.bind(80)
    stranger, other = world.client(), pair()
    stranger.hello()
    assert stranger.ask(Message(Op.ADOPT, u=inode_of(ours)))[0].error == errno.ENOENT
    assert client.ask(Message(Op.ADOPT, u=inode_of(other[0])))[0].error == errno.ENOENT
    assert client.ask(Message(Op.ADOPT))[0].error == errno.ENOENT


def refuse(client, kind, level, name, program=b"lighttpd"):
    words = struct.unpack("<4I", program.ljust(16, b"\0"))
    client.send(Message(Op.REFUSED, u=(kind, level, name, 0, *words)))


def told(world, seq=3):
    """The syscall server's rows."""
    client = world.client()  # what others sent before has been read when this one is answered
    client.hello()
    client.close()
    rows = []
    world.tell(op="programs", seq=seq)
    while True:
        answer = msgspec.json.decode(world.ctl_peer.recv(1 << 18))
        assert answer["seq"] == seq
        rows += answer["rows"]
        if not answer["more"]:
            return rows


def test_what_was_refused_is_counted_by_name(world, client):
    refuse(client, 1, socket.IPPROTO_TCP, socket.TCP_FASTOPEN)
    refuse(client, 1, socket.IPPROTO_TCP, socket.TCP_FASTOPEN)
    refuse(client, 3, 0, socket.MSG_OOB)
    refuse(client, 77, 1000, 5, program=b"\x1b[2Jxx")
    client.ask(Message(Op.PREFER))  # none of them was answered: this is the first reply
    rows = [row["refused"] for row in told(world) if "refused" in row]
    assert [(r["program"], r["call"], r["what"], r["count"]) for r in rows] == [
        ("lighttpd", "setsockopt", "IPPROTO_TCP, TCP_FASTOPEN", 2),
        ("lighttpd", "send flags", "MSG_OOB", 1),
        ("?[2Jxx", "77", "1000, 5", 1),
    ]


def test_the_table_of_refusals_is_bounded(world, client):
    for name in range(300):
        refuse(client, 1, 1, name)
        if name % 50 == 0:
            client.ask(Message(Op.PREFER))
    client.ask(Message(Op.PREFER))
    assert len([row for row in told(world) if "refused" in row]) == 256
    assert world.counter("refused_by_preload") == 300


def test_applications_are_listed_with_what_they_bound(world, client):
    _bound, ours = client.bind(80, host="0.0.0.0")
    found = next(row["application"] for row in told(world) if row["application"]["app"] == client.app)
    assert found["pids"] == [os.getpid()]
    assert found["bound"] == ["tcp 0.0.0.0:80"]
    assert found["processes"] == 1
    assert found["program"]
    ours.close()
