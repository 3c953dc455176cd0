"""Applications that say NEAT_REQ_CLOSE before they close, and those that do not, or no longer."""

import select

import pytest

from neat.abi.layout import NEAT_REQ_CLOSE as REQ_CLOSE
from tests.replica.conftest import REQ_ACCEPTED, Peer, await_true


@pytest.fixture
def served(world):
    """(channel, listener) of an application that has announced its first close."""
    channel, listener = world.attach(), world.listen()
    peer, message, end = connect(world, listener, 40000)
    announce(channel, message)
    end.close()
    finish(world, peer)
    return channel, listener


def connect(world, listener, sport):
    peer = Peer(world, sport)
    peer.connect()
    message, end = world.accept(listener)
    return peer, message, end


def announce(channel, message):
    channel.put(message.sock, "request", REQ_ACCEPTED | REQ_CLOSE)
    channel.touch(message.sock)


def finish(world, peer):
    peer.expect("FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")


def test_the_fin_does_not_wait_for_the_hang_up(world, served):
    channel, listener = served
    peer, message, end = connect(world, listener, 40001)
    announce(channel, message)
    peer.expect("FIN", lambda tcp: "F" in tcp.flags)
    end.close()
    peer.send("FA")
    await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")


@pytest.mark.parametrize("count", [1, 3])
def test_a_hang_up_without_a_word_is_heard_all_the_same(world, served, count):
    """The first may take a moment; from then on they are watched at once again."""
    for number in range(count):
        peer, _message, end = connect(world, served[1], 40001 + number)
        end.close()
        finish(world, peer)


def test_one_that_lasts_is_watched(world, served):
    peer, message, end = connect(world, served[1], 40001)
    peer.send("PA", b"x")
    assert select.select([end], [], [], 10)[0]
    watched = world.counters()["hangups"]
    world.await_counter("tcp_bytes_in", 1)
    channel = served[0]
    assert channel.read(message.sock) == b"x"
    channel.touch(message.sock)
    select.select([], [], [], 0.02)  # longer than a short connection lasts
    end.close()
    finish(world, peer)
    assert world.counters()["hangups"] == watched + 1


def test_many_at_once(world, served):
    """Every one of many that are closed at once is heard of."""
    before = world.counters()["hangups"]
    ends = [connect(world, served[1], 41000 + number)[2] for number in range(12)]
    for end in ends:
        end.close()
    await_true(lambda: world.counters()["hangups"] == before + 12, "all hang-ups")
    await_true(lambda: world.counters()["descriptors"] == 0, "all descriptors are closed")
