"""A port that was bound and then connected from stays taken until its connection is over."""

import errno
import os

import pytest

from neat.abi.messages import Address, BindFlag, Message, Op
from tests.support import wait_for

PORT = 4000


@pytest.fixture
def connected(world):
    """(client, the bind_id of a socket that was bound to PORT and handed to replica 0 to connect)."""
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(PORT)
    remote = Address.ipv4("10.77.0.1", 80)
    assert client.ask(Message(Op.CONNECT, replica=0, bind_id=bound.bind_id, remote=remote))[0].error == 0
    message, fds = world.replicas[0].take(Op.CONNECT_VIA, answer=False)
    assert message.bind_id == bound.bind_id
    os.close(fds[0])
    assert client.bind(PORT)[0].error == errno.EADDRINUSE
    return client, bound.bind_id


@pytest.mark.parametrize("port", [4000, 4001])
def test_the_replica_that_the_port_belongs_to_connects(world, port):
    """Whatever the application says: that one alone knows what else is open from this port."""
    world.bring_up(0, 1)
    client = world.client()
    client.hello()
    for asked in (0, 1):
        bound, _ours = client.bind(port, flags=BindFlag.REUSEADDR)
        remote = Address.ipv4("10.77.0.1", 80)
        reply, _ = client.ask(Message(Op.CONNECT, replica=asked, bind_id=bound.bind_id, remote=remote))
        assert (reply.error, reply.replica) == (0, port % 2)
        message, fds = world.replicas[port % 2].take(Op.CONNECT_VIA, answer=False)
        assert message.bind_id == bound.bind_id
        os.close(fds[0])


def test_another_connects_while_that_one_is_down(world):
    world.bring_up(0)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(4001)
    remote = Address.ipv4("10.77.0.1", 80)
    reply, _ = client.ask(Message(Op.CONNECT, replica=0, bind_id=bound.bind_id, remote=remote))
    assert (reply.error, reply.replica) == (0, 0)


def says_over(replica, bind_id, incarnation=1):
    replica.sock.send(Message(Op.PORT_FREE, bind_id=bind_id, incarnation=incarnation).pack())


def becomes_free(client):
    wait_for(lambda: client.bind(PORT)[0].error == 0, 10, "the port is free")


def test_until_its_replica_says_so(world, connected):
    """And nobody else: not another replica, not a predecessor, not about another socket."""
    client, bind_id = connected
    says_over(world.replicas[1], bind_id)
    says_over(world.replicas[0], bind_id, incarnation=7)
    says_over(world.replicas[0], bind_id + 1)
    assert client.bind(PORT)[0].error == errno.EADDRINUSE
    says_over(world.replicas[0], bind_id)
    becomes_free(client)


def test_until_its_replica_is_gone(world, connected):
    world.tell(op="replica_down", replica=0)
    becomes_free(connected[0])


def test_until_its_replica_is_another_one(world, connected):
    world.replicas[0].hello(incarnation=2)
    becomes_free(connected[0])


def test_a_successor_knows(world, connected):
    old, bind_id = connected
    world.kill()
    world.start()
    client = world.client()
    client.ask(Message(Op.JOIN, app=old.app, token=old.token))
    assert client.bind(PORT)[0].error == errno.EADDRINUSE
    says_over(world.replicas[0], bind_id)
    becomes_free(client)


def test_with_reuseaddr_it_is_shared(world):
    """Linux: two that both said so may have one port, as neither listens."""
    world.bring_up(0)
    client = world.client()
    client.hello()
    bound, _ours = client.bind(PORT, flags=BindFlag.REUSEADDR)
    remote = Address.ipv4("10.77.0.1", 80)
    assert client.ask(Message(Op.CONNECT, replica=0, bind_id=bound.bind_id, remote=remote))[0].error == 0
    assert client.bind(PORT)[0].error == errno.EADDRINUSE
    assert client.bind(PORT, flags=BindFlag.REUSEADDR)[0].error == 0


@pytest.mark.parametrize("killed", [False, True])
def test_who_asks_again_hears_that_the_replica_has_it(world, connected, killed):
    """A server that was killed between its word to the replica and its answer: the request comes again."""
    client, bind_id = connected
    if killed:
        world.kill()
        world.start()
        again = world.client()
        again.ask(Message(Op.JOIN, app=client.app, token=client.token))
        client = again
    remote = Address.ipv4("10.77.0.1", 80)
    reply, _ = client.ask(Message(Op.CONNECT, replica=1, bind_id=bind_id, remote=remote))
    assert (reply.error, reply.replica) == (0, 0)
    assert world.replicas[0].hello() == []  # nothing was said to it in between
    stranger = world.client()
    stranger.hello()
    reply, _ = stranger.ask(Message(Op.CONNECT, replica=0, bind_id=bind_id, remote=remote))
    assert reply.error == errno.EINVAL


def test_replica_that_goes_on_with_its_state_changes_nothing(world, connected):
    """HELLO under the number that is known: segments, ports and what is active stay."""
    client, bind_id = connected
    _reply, before = client.ask(Message(Op.SEGMENT, replica=0))
    world.replicas[0].hello()
    _reply, after = client.ask(Message(Op.SEGMENT, replica=0))
    assert os.fstat(after[0]).st_ino == os.fstat(before[0]).st_ino
    assert os.pread(after[0], 4096, 0) == os.pread(before[0], 4096, 0)
    assert client.ask(Message(Op.PREFER))[0].replica == 0b11
    assert client.bind(PORT)[0].error == errno.EADDRINUSE
    says_over(world.replicas[0], bind_id)
    becomes_free(client)
