"""A replica with a queue of its own: what it writes there and what it leaves to the driver, and what it does
with anything that comes out of it."""

import contextlib
import os
import random

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import ARP, Ether

from neat.abi.messages import PROTO_TCP, Address, Message, Op
from neat.shm.pyring import FLOW_ADD, FRAME, MAX_RECORD
from tests.replica.conftest import (
    PEER,
    PEER_MAC,
    STACK,
    VNET,
    Peer,
    await_true,
    pair,
    receive,
    running_world,
    wait_readable,
)
from tests.replica.test_replica import established


@pytest.fixture
def world():
    with running_world(datapath="queues", recovery="stateful") as made:
        yield made


def connect(world, remote):
    """(our end, NEAT_OP_CONNECTING): an application opens a connection."""
    ours, theirs = pair()
    ours.send(b"c")
    ours.send(b"x")
    order = Message(Op.CONNECT_VIA, app=1, remote=remote, local=Address.ipv4(STACK, 0), u=(1,))
    world.say(order, theirs.fileno())
    theirs.close()
    return ours, receive(ours)[0]


def drivers(world):
    """(type, frame or None) of what the driver got, and what came out of the queue; ARP is left out."""
    links, queues = [], []
    while (record := world.tx.pop()) is not None:
        kind, _stamp, data = record
        links.append((kind, Ether(data[10:]) if kind == FRAME else None))
    world.tx.release()
    while wait_readable(world.queue, seconds=0):
        frame = Ether(world.queue.recv(MAX_RECORD)[10:])
        if ARP not in frame:
            queues.append(frame)
    return links, queues


def flags(record):
    """Of a TCP segment, else ""."""
    frame = record[1]
    return str(frame[TCP].flags) if frame is not None and TCP in frame else ""


def await_syn(world):
    """(what came over the link until and with the SYN, what came out of the queue meanwhile)."""
    links, queues = [], []

    def opened():
        more, other = drivers(world)
        links.extend(more)
        queues.extend(other)
        return "S" in map(flags, links)

    await_true(opened, "its SYN")
    return links, queues


def test_the_driver_learns_a_flow_before_its_syn_leaves(world):
    """And sees nothing more of it."""
    *_ends, peer = established(world)  # so it knows where the peer is
    peer.send("PA", b"text")
    peer.expect("ACK", lambda tcp: tcp.ack == peer.seq)
    ours, told = connect(world, Address.ipv4(PEER, 8080, PROTO_TCP))
    links, queues = await_syn(world)
    assert [kind for kind, _frame in links] == [FLOW_ADD, FRAME] and not queues
    other = Peer(world, 8080, told.local.port)
    other.ack = links[1][1][TCP].seq + 1
    other.send("SA")
    queues = []
    await_true(lambda: queues.extend(drivers(world)[1]) or queues, "its ACK")
    assert [str(frame[TCP].flags) for frame in queues] == ["A"]
    assert drivers(world) == ([], [])
    ours.close()


def test_frames_to_the_stack_itself_go_over_the_driver(world):
    world.attach()
    ours, _told = connect(world, Address.ipv4(STACK, 8080, PROTO_TCP))
    _links, queues = await_syn(world)
    assert not queues
    ours.close()


def test_anything_at_all_may_be_in_the_queue(world):
    """Random bytes of every length, and sound headers before them."""
    *_ends, peer = established(world)
    rng = random.Random(12)
    sound = VNET + bytes(Ether(src=PEER_MAC, dst=world.mac) / peer.segment("PA", b"text"))
    lengths = [*range(1, 100), *rng.sample(range(100, MAX_RECORD), 200), MAX_RECORD - 1]
    for length in lengths:
        world.queue.send(rng.randbytes(length))
        world.queue.send((sound[:54] + rng.randbytes(length))[: MAX_RECORD - 1])
        world.frames()
    world.queue.send(bytes(MAX_RECORD))
    world.await_counter("queue_drop_truncated", 1)
    assert world.counters()["queue_rx_frames"] >= 2 * len(lengths)
    Peer(world, 40001).connect()


def test_a_queue_that_takes_nothing_loses_frames_and_no_more(world):
    """As with a device that has no room: they are counted, and sent again."""
    channel, listener, message, end, peer = established(world)
    fillers = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            world.theirs[-1].send(bytes(1))
            fillers += 1
    channel.write(message.sock, b"late")
    world.await_counter("queue_drop_no_buffer", 1)
    for _ in range(fillers):
        world.queue.recv(1)
    assert peer.expect("its text", lambda tcp: bytes(tcp.payload)[:4] == b"late")


@pytest.mark.parametrize("word", [0, 64])
def test_an_intake_that_makes_no_sense_is_begun_anew(world, word):
    """Only the replica itself writes it: what its predecessor left there, it need not believe."""
    channel, listener, message, end, peer = established(world)
    world.kill()
    at = world.link.intake_address - world.link.segment.address
    assert os.pread(world.link_fd, 8, at) != bytes(8)
    os.pwrite(world.link_fd, b"\x11" * 8, at + word)
    world.succeed()
    peer.send("PA", b"question")
    await_true(lambda: channel.get(message.sock, "rx_tail") == 8, "its bytes")
    assert channel.read(message.sock) == b"question"
