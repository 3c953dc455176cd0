"""What one application may cost: the server's turns, the others' sockets, memory."""

import errno
import json
import mmap
import os
import select

import pytest

from neat.abi.messages import PROTO_TCP, PROTO_UDP, Address, Message, Op
from neat.syscalls.record import BindRecord, Journal
from tests.support import wait_for
from tests.syscalls.conftest import STACK, pair, receive

MANY = 1000
PATIENCE_S = 60


class MemoryStore:
    """What the guardian would keep: its names only, but for the journal."""

    def __init__(self):
        self.journal = -1
        self.puts = 0

    def put(self, _name, fd):
        if self.journal >= 0:
            os.close(self.journal)
        self.journal = os.dup(fd)
        self.puts += 1

    def get(self, _name):
        return os.dup(self.journal) if self.journal >= 0 else None


def record(number):
    return BindRecord(number, 1, PROTO_TCP, number, "00" * 24, 0, 0, -1, 0, False)


@pytest.fixture
def store():
    made = MemoryStore()
    yield made
    os.close(made.journal)


def load(store):
    return Journal(store).load()


def test_a_change_costs_the_same_however_much_is_known(store):
    """Who writes down all that it knows for each of a thousand sockets that hang up does nothing else."""
    journal = Journal(store)
    journal.load()
    for number in range(MANY):
        journal.note({f"bind.{number}": record(number)})
    before, lines, anew = journal.valid, [], store.puts
    for number in range(MANY):
        written = journal.written
        journal.note({f"bind.{number}": None})
        if store.puts == anew:
            lines.append(journal.written - written)
        anew = store.puts
    assert max(lines) < 100
    assert before > 100 * MANY
    assert store.puts < 10
    assert load(store) == {}


def test_what_is_said_last_holds(store):
    journal = Journal(store)
    assert journal.load() == {}
    journal.note({"next.bind": 2, "bind.1": record(1)})
    journal.note({"bind.1": None, "bind.2": record(2)})
    journal.note({"bind.2": record(3)})
    left = load(store)
    assert left["next.bind"] == 2
    assert "bind.1" not in left and left["bind.2"]["number"] == 3


def test_a_line_that_was_cut_short_is_void(store):
    journal = Journal(store)
    journal.load()
    journal.note({"next.bind": 2, "bind.1": record(1)})
    os.write(store.journal, b'{"bind.1":nul')
    assert load(store)["bind.1"]["number"] == 1


def test_a_write_that_fails_half_way_loses_nothing(store, monkeypatch):
    journal = Journal(store)
    journal.load()
    write, sizes = os.write, [7, 0]

    def fail(fd, data):
        if not sizes:
            return write(fd, data)
        size = sizes.pop(0)
        if not size:
            raise OSError(errno.ENOMEM, "no memory")
        return write(fd, data[:size])

    monkeypatch.setattr(os, "write", fail)
    journal.note({"bind.1": record(1)})
    journal.note({"bind.2": record(2)})
    assert not sizes and {"bind.1", "bind.2"} <= load(store).keys()


def test_another_format_is_no_journal(store):
    journal = Journal(store)
    journal.load()
    journal.note({"next.bind": 2, "format": 1})
    assert load(store) == {}


def test_it_beats_while_it_forgets_a_thousand_sockets(world):
    """The supervisor kills who does not beat."""
    client = world.client()
    client.hello()
    ends = [client.bind(1000 + i)[1] for i in range(MANY)]
    world.asked.clear()
    for end in ends:
        end.close()

    def drops():
        return [beat for request, beat in world.asked if json.loads(request)["op"] == "drop"]

    wait_for(lambda: len(drops()) == MANY, PATIENCE_S, "all are forgotten")
    beats = drops()
    assert all(later > sooner for sooner, later in zip(beats, beats[1:], strict=False))


@pytest.mark.parametrize("world", [{"replicas": 1, "max_udp": 8, "max_listeners": 4}], indirect=True)
def test_what_all_may_have_is_shared(world):
    """Nobody takes more than is left for the others, and all is given in the end."""
    world.bring_up(0)

    def datagram_sockets(client):
        """As many as it can get."""
        return list(iter(lambda: bound_datagram(world, client), None))

    clients = [world.client() for _ in range(5)]
    for client in clients:
        client.hello()
    found = [datagram_sockets(client) for client in clients]
    assert [len(ends) for ends in found] == [4, 2, 1, 1, 0]
    found[0].pop().close()
    wait_for(lambda: bound_datagram(world, clients[4]), PATIENCE_S, "what is given back is there for others")


def bound_datagram(world, client):
    """The application's end of one more, or None: ENOBUFS."""
    ours, theirs = pair()
    client.send(Message(Op.BIND, local=Address.ipv4("0.0.0.0", 0, PROTO_UDP)), [theirs.fileno()])
    theirs.close()
    # Either the replica is asked, or the server answers at once.
    asked = select.select([client.sock, world.replicas[0].sock], [], [])[0]
    while client.sock not in asked:
        message, fds = receive(world.replicas[0].sock)
        for fd in fds:
            os.close(fd)
        if message.op == Op.ADD_UDP:
            world.replicas[0].answer(message)
        asked = select.select([client.sock, world.replicas[0].sock], [], [])[0]
    reply, _ = client.answer()
    if reply.error == 0:
        return ours
    assert reply.error == errno.ENOBUFS
    ours.close()
    return None


@pytest.mark.parametrize("world", [{"app_memory": 1 << 24}], indirect=True)
def test_an_application_has_a_limit_of_memory(world):
    world.bring_up(0)
    client, other = world.client(), world.client()
    client.hello()
    other.hello()
    _reply, (segment, bell) = client.ask(Message(Op.SEGMENT, replica=0))
    size = os.fstat(segment).st_size
    bound, listening = client.bind(80)
    for at in range(0, 1 << 24, 4096):
        os.pwrite(segment, b"x", size - 4096 - at)
    assert client.bind(81)[0].error == errno.ENOBUFS
    assert client.ask(Message(Op.LISTEN, bind_id=bound.bind_id))[0].error == errno.ENOBUFS
    full, _ = world.replicas[0].take(Op.FULL, answer=False)
    assert (full.app, full.u[0]) == (client.app, 1)
    world.tell(op="programs", seq=1)
    rows = [row["application"] for row in json.loads(world.ctl_peer.recv(65536))["rows"]]
    shown = {row["app"]: row for row in rows}
    assert shown[client.app]["memory"] >= 1 << 24 > shown[other.app]["memory"]
    reply, _end = other.bind(82)
    assert reply.error == 0
    # It is given back: room again, and the replica hears of that without being asked.
    punch(segment, size)
    full, _ = world.replicas[0].take(Op.FULL, answer=False)
    assert (full.app, full.u[0]) == (client.app, 0)
    assert client.bind(81, STACK)[0].error == 0
    for fd in (segment, bell):
        os.close(fd)
    listening.close()


def punch(fd, size):
    """All of its pages."""
    with mmap.mmap(fd, size) as memory:
        memory.madvise(mmap.MADV_REMOVE)
