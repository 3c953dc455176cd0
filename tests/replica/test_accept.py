"""Connections on their way to accept(): who claims one gets it, over the pair that he says."""

import os
import random
import select
import socket
import struct

import pytest

from neat.abi import layout
from neat.abi.messages import Message, Op
from tests.replica.conftest import CORD, REQ_ACCEPTED, Peer, await_true, pair, receive
from tests.replica.test_pollers import UNSEEN, poller_offset, request, take_bit
from tests.replica.test_replica import await_poll, poll
from tests.replica.test_spares import connect, heard

CLAIM_CORD = layout.NEAT_CLAIM_CORD


@pytest.fixture
def server(world):
    """(channel, listener)"""
    channel, listener = world.attach(), world.listen()
    world.ends.append(listener)
    return channel, listener


def offered(world, server, sport=40000):
    """(peer, NEAT_EV_ACCEPT)"""
    peer = connect(world, sport)
    message, fds = receive(server[1])
    assert message.op == Op.ACCEPT and not fds
    assert server[0].get(message.sock, "claim") == message.generation
    return peer, message


def is_reset(peer):
    peer.expect("a reset", lambda tcp: "R" in tcp.flags)


def test_who_looks_first_is_told_nothing_until_he_waits(world, server):
    """No token for what came before accept(), nor after it; the end of the stream is owed likewise."""
    peer, message = offered(world, server)
    peer.send("PA", b"early")
    end = world.claim(message, waiters=0)
    world.ends.append(end)
    peer.send("FPA", b"late")
    await_true(lambda: server[0].get(message.sock, "rx_tail") == 9, "its bytes")
    assert not poll(end, select.POLLIN | select.POLLRDHUP)
    assert heard(server, message, end)
    assert await_poll(end, select.POLLRDHUP) & select.POLLRDHUP


def test_who_does_not_look_first_gets_a_token(world, server):
    peer, message = offered(world, server)
    peer.send("PA", b"early")
    await_true(lambda: server[0].get(message.sock, "rx_tail") == 5, "its bytes")
    end = world.claim(message)
    world.ends.append(end)
    assert server[0].get(message.sock, "waiters") == UNSEEN
    assert await_poll(end, select.POLLIN) & select.POLLIN and end.recv(8) == b"t"


@pytest.mark.parametrize(("flags", "wanted"), [("FA", select.POLLRDHUP), ("RA", select.POLLERR)])
def test_what_is_over_before_it_is_claimed(world, server, flags, wanted):
    peer, message = offered(world, server)
    peer.send(flags)
    await_true(lambda: server[0].get(message.sock, "status") & 6, "it is over")
    end = world.claim(message)
    world.ends.append(end)
    assert await_poll(end, select.POLLRDHUP) & wanted


def test_a_process_that_dies_before_it_has_sent_its_end(world, server):
    """What it had claimed is reset at once; what nobody has claimed, and what another has, is not."""
    channel, _ = server
    other = world.cord(number=7)
    first, claimed = offered(world, server, 40000)
    second, theirs = offered(world, server, 40001)
    _third, unclaimed = offered(world, server, 40002)
    channel.put(claimed.sock, "claim", CORD << 32 | CLAIM_CORD)
    channel.put(theirs.sock, "claim", 7 << 32 | CLAIM_CORD)
    channel.put(theirs.sock, "waiters", UNSEEN)
    channel.cord.close()
    is_reset(first)
    world.await_counter("accepts_lost", 1)
    ours, stack_end = pair()
    ours.send(b"c")
    world.ends.append(ours)
    world.send_stack_end(theirs, stack_end, other)
    stack_end.close()
    second.send("PA", b"hello")
    assert await_poll(ours, select.POLLIN) & select.POLLIN
    assert channel.get(unclaimed.sock, "claim") == unclaimed.generation
    assert world.counters()["accepts_lost"] == 1


def test_an_end_that_was_sent_by_a_process_that_died(world, server):
    """The kernel closes the application's end; it may have been passed on, too."""
    peer, message = offered(world, server)
    end = world.claim(message)
    world.ends.append(end)
    server[0].cord.close()
    peer.send("PA", b"hello")
    assert await_poll(end, select.POLLIN) & select.POLLIN
    end.close()
    peer.expect("its end", lambda tcp: "F" in tcp.flags or "R" in tcp.flags)


def test_a_claim_before_the_replica_has_the_cord(world, server):
    """The application gets its end of a cord when the replica was sent the other, and may not have looked."""
    channel, _ = server
    peer, message = offered(world, server)
    channel.put(message.sock, "claim", 8 << 32 | CLAIM_CORD)
    request(channel, message.sock, REQ_ACCEPTED)
    peer.send("PA", b"hello")
    await_true(lambda: channel.get(message.sock, "rx_tail") == 5, "its bytes")
    end = world.claim(message, world.cord(number=8), 8)
    world.ends.append(end)
    assert await_poll(end, select.POLLIN) & select.POLLIN


def test_a_cord_that_there_is_already(world, server):
    """Under its number, or under none."""
    for number in (CORD, 0):
        assert world.cord(number=number).recv(1) == b""
    peer, message = offered(world, server)
    end = world.claim(message)
    world.ends.append(end)
    peer.send("PA", b"hello")
    assert await_poll(end, select.POLLIN) & select.POLLIN
    assert world.counters()["cords"] == 1


def test_the_pollers_of_a_process_that_dies(world, server):
    """Their places are free, their bells are closed; another's are not."""
    channel, _ = server
    bells = []
    for slot, owner in enumerate((CORD, 7, CORD)):
        struct.pack_into("<I", channel.memory, poller_offset(slot), owner)
        ours, theirs = os.pipe()
        world.say(Message(Op.ADD_POLLER, app=1, u=(slot,)), theirs)
        os.close(theirs)
        bells.append(ours)
        assert os.read(ours, 1) == b"b"
    channel.cord.close()

    def owners():
        return [struct.unpack_from("<I", channel.memory, poller_offset(n))[0] for n in range(3)]

    await_true(lambda: owners() == [0, 7, 0], "free")
    assert os.read(bells[0], 1) == os.read(bells[2], 1) == b""
    assert not select.select([bells[1]], [], [], 0)[0]
    assert world.counters()["pollers"] == 1
    for bell in bells:
        os.close(bell)


def test_an_end_for_a_connection_that_is_over(world, server):
    """Of another generation, or one that has its end: it is closed, and nobody else's connection gets it."""
    channel, _ = server
    peer, message = offered(world, server)
    end = world.claim(message)
    world.ends.append(end)
    for generation in (message.generation, message.generation + 2):
        message.generation = generation
        ours, theirs = pair()
        world.send_stack_end(message, theirs, channel.cord)
        theirs.close()
        assert ours.recv(1) == b""
        ours.close()
    world.await_counter("pairs_unknown", 2)
    peer.send("PA", b"hello")
    assert await_poll(end, select.POLLIN) & select.POLLIN


@pytest.mark.parametrize("what", ["file", "pipe", "stream", "inet", "nothing"])
def test_an_end_that_is_none(world, server, what):
    """Nothing but a unix SOCK_SEQPACKET socket is a stack's end: it is reset, and its poller is told."""
    channel, _ = server
    peer, message = offered(world, server)
    channel.put(message.sock, "waiters", 1 << 3)
    channel.put(message.sock, "claim", CORD << 32 | CLAIM_CORD)
    held = {
        "file": lambda: [open(os.devnull, "rb")],  # noqa: SIM115
        "pipe": lambda: [os.fdopen(fd, "rb" if n == 0 else "wb") for n, fd in enumerate(os.pipe())],
        "stream": lambda: list(socket.socketpair()),
        "inet": lambda: [socket.socket()],
        "nothing": list,
    }[what]()
    order = Message(Op.STACK_END, sock=message.sock, generation=message.generation, u=(message.u[0],))
    socket.send_fds(channel.cord, [order.pack()], [file.fileno() for file in held[:1]])
    is_reset(peer)
    world.await_counter("accept_no_fd", 1)
    await_true(lambda: take_bit(channel, message.sock), "its event bit")
    for file in held:
        file.close()


def test_what_an_application_sends_over_a_cord(world, server):
    """Nothing that it says there ends the replica, or keeps it from others; each is counted, and however many
    descriptors come beside it, none stays."""
    channel, _ = server
    descriptors = f"/proc/{world.process.pid}/fd"
    rng = random.Random(11)
    _peer, message = offered(world, server)
    ends = pair()
    held = len(os.listdir(descriptors))
    for turn in range(300):
        order = Message(
            rng.choice([Op.STACK_END, Op.ATTACH, Op.ACCEPT, 0, 65535]),
            sock=rng.choice([message.sock, 0, 3, rng.getrandbits(32)]),
            generation=rng.choice([message.generation, 0, rng.getrandbits(32)]),
            u=(rng.choice([message.u[0] + 1, 255, 256, 2**31, 2**32 - 1]),),
        ).pack()
        data = rng.choice(
            [order, order[:-1], order + b"x", rng.randbytes(160), rng.randbytes(rng.randrange(1, 999))]
        )
        socket.send_fds(channel.cord, [data], [end.fileno() for end in ends[: turn % 3]] * (turn % 40))
    world.await_counter("drop_cord", 100)
    await_true(lambda: len(os.listdir(descriptors)) <= held, "it has closed them")
    for end in ends:
        end.close()
    end = world.claim(message)
    world.ends.append(end)
    _peer.send("PA", b"hello")
    assert await_poll(end, select.POLLIN) & select.POLLIN
    assert world.counters()["cords"] == 1


def test_claims_that_make_no_sense(world, server):
    """A cord that there never was: as one whose process has died, once nobody can still send it."""
    channel, _ = server
    peer, message = offered(world, server)
    channel.put(message.sock, "claim", 0xFFFFFFFF << 32 | CLAIM_CORD)
    request(channel, message.sock, REQ_ACCEPTED)
    peer.send("PA", b"hello")
    await_true(lambda: channel.get(message.sock, "rx_tail") == 5, "its bytes")
    server[1].close()
    guest = Peer(world, 40009)
    guest.send("S")
    is_reset(guest)  # nobody listens any more; the connection that is claimed stays
    assert channel.get(message.sock, "generation") == message.generation


def test_cords_go_with_their_application(world, server):
    world.await_counter("cords", 1)
    server[1].close()
    world.say(Message(Op.APP_GONE, app=1))
    assert server[0].cord.recv(1) == b""
    await_true(lambda: world.counters()["cords"] == 0, "none is left")
