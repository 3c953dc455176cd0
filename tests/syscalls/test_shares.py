"""Shares of the local ports when replicas come and go (neat/syscalls/shares.py): no two replicas ever open a
connection from one port."""

import os
import socket

import msgspec
import pytest

from neat.abi.messages import REPLY, Address, BindFlag, Message, Op
from neat.syscalls import shares
from neat.syscalls.replicas import Replica
from neat.syscalls.shares import Shares

from .conftest import CONFIG, World, bitmap

NONE = (0, 0)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, msgspec.structs.replace(CONFIG, replicas=3))
    made.start()
    yield made
    made.close()


@pytest.fixture
def started(world):
    """Three replicas share the ports; all of that was heard."""
    world.bring_up(0, 1, 2)
    for replica in world.replicas:
        assert replica.shares == [((replica.slot, 3), set())]
        replica.shares.clear()
    return world


def bitmap_of_active(world):
    client = world.client()
    client.hello()
    return client.ask(Message(Op.PREFER))[0].replica


def test_one_less(started):
    """Each keeps what it has in both shares until all have said what they use."""
    a, b, c = started.replicas
    a.uses, b.uses, c.uses = {33000}, {40001}, {50002}
    started.tell(op="slots", slots=[0, 1])
    assert [r.take_share() for r in (a, b)] == [((0, 2), None), ((1, 2), None)]
    assert c.take_share(answer=False) == (NONE, None)
    assert bitmap_of_active(started) == 0b011  # the one that leaves opens nothing from now on
    a.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        a.sock.recv(1)  # not before the third has answered
    a.sock.setblocking(True)
    message = Message(Op.PORTS, REPLY, 0, replica=2, incarnation=1)
    late(c, message, {50002})
    with pytest.raises(BlockingIOError):
        a.sock.recv(1, socket.MSG_DONTWAIT)  # an answer to another question
    assert c.take_share() == (NONE, None)  # it is asked again
    assert a.take_share() == ((0, 2), {40001, 50002})
    assert b.take_share() == ((1, 2), {33000, 50002})
    assert c.take_share() == (NONE, {33000, 40001})


def late(replica, message, used):
    fd = bitmap(used)
    socket.send_fds(replica.sock, [message.pack()], [fd])
    os.close(fd)


def test_one_more_opens_nothing_before_it_has_a_share(started):
    started.tell(op="slots", slots=[0, 1])
    for _ in range(2):
        for replica in started.replicas:
            replica.take_share()
    assert bitmap_of_active(started) == 0b011
    a, b, c = started.replicas
    a.uses = {33002}
    started.tell(op="slots", slots=[0, 1, 2])
    assert (a.take_share(answer=False), b.take_share(), c.take_share()) == (
        ((0, 3), None),
        ((1, 3), None),
        ((2, 3), None),
    )
    assert bitmap_of_active(started) == 0b011
    assert a.take_share() == ((0, 3), None)  # asked again
    assert c.take_share() == ((2, 3), {33002})
    assert bitmap_of_active(started) == 0b111


def test_who_lost_its_state_uses_nothing(started):
    """And nobody waits for it."""
    a, b, c = started.replicas
    c.uses = {50002}
    started.tell(op="slots", slots=[0, 1])
    assert (a.take_share(), b.take_share()) == (((0, 2), None), ((1, 2), None))
    c.take_share(answer=False)
    started.tell(op="replica_down", replica=2, incarnation=1)
    assert a.take_share() == ((0, 2), set())
    assert b.take_share() == ((1, 2), set())


def test_a_new_state_hears_what_the_others_use(started):
    a, b, c = started.replicas
    a.uses = {33001}
    started.tell(op="slots", slots=[0, 2])
    for replica in (a, b, c):
        assert replica.take_share()[1] is None
    assert c.take_share() == ((1, 2), {33001})
    started.tell(op="replica_down", replica=2, incarnation=1)
    c.shares.clear()
    c.hello(2)
    assert c.shares == [((1, 2), {33001})]


def test_a_successor_in_the_middle_of_a_change(started):
    """It asks everybody anew: answers went to its predecessor."""
    a, b, c = started.replicas
    b.uses = {33333}
    started.tell(op="slots", slots=[0, 1])
    a.take_share()
    for replica in (b, c):
        replica.take_share(answer=False)
    started.kill()
    started.start()
    for replica in (a, b, c):
        assert replica.take_share()[1] is None
    assert a.take_share() == ((0, 2), {33333})
    assert b.take_share() == ((1, 2), set())
    assert bitmap_of_active(started) == 0b011


def test_bound_sockets_connect_where_the_port_is_used_already(started):
    """Its new owner does not know which 5-tuples of it are taken."""
    client = started.client()
    client.hello()
    started.tell(op="slots", slots=[0, 1])
    for _ in range(2):
        for replica in started.replicas:
            replica.take_share()
    ends = [connect_from(client, 40000, 1), connect_from(client, 40000, 1)]
    for _ in ends:
        connected(started.replicas[0])  # 40000 % 2
    started.tell(op="slots", slots=[0, 1, 2])
    for _ in range(2):
        for replica in started.replicas:
            replica.take_share()
    ends.append(connect_from(client, 40000, 0))
    connected(started.replicas[0])  # although 40000 % 3 is 1
    ends.append(connect_from(client, 40003, 0))
    connected(started.replicas[1])


def connect_from(client, port, replica):
    """Ask that replica to connect from a port; the application's end."""
    bound, end = client.bind(port, flags=BindFlag.REUSEADDR)
    remote = Address.ipv4("10.77.0.1", 80)
    reply, _ = client.ask(Message(Op.CONNECT, replica=replica, bind_id=bound.bind_id, remote=remote))
    assert reply.error == 0
    return end


def connected(replica):
    _, fds = replica.take(Op.CONNECT_VIA, answer=False)
    os.close(fds[0])


class Heard(Replica):
    """A replica that is told, and answers when the test says so."""

    def send(self, message, *fds):
        return True

    def answer(self, told_by, *used):
        fd = bitmap(used)
        message = Message(Op.PORTS, REPLY, told_by.seq, replica=self.slot, incarnation=self.incarnation)
        told_by.answer(self, message, [fd])
        os.close(fd)


def test_what_is_free_by_now_is_asked_for_again(monkeypatch):
    """Once a minute while somebody uses a port of another one's share, and not any more after that."""
    monkeypatch.setattr(shares, "REFRESH_S", 0)
    one, two = (Heard(slot, None, incarnation=1) for slot in (0, 1))
    mine = Shares({0: one, 1: two}, [0, 1], [0, 1], lambda: None)
    mine.begin()
    one.answer(mine, 32768, 61001)
    two.answer(mine, 32770)
    asked = mine.seq
    mine.look()
    assert mine.seq != asked and mine.waiting == {0, 1}
    one.answer(mine, 32768)
    two.answer(mine, 32769)
    asked = mine.seq
    mine.look()
    assert mine.seq == asked and not mine.waiting
