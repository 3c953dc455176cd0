"""A replica with a queue of its own: what it writes there and what it leaves to the driver, and what it does
with anything that comes out of it."""

import contextlib
import os
import random

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import ARP, Ether

from neat.abi.messages import PROTO_TCP, Address, Message, Op
from neat.shm.pyring import FLOW_ADD, FLOW_DELETE, FRAME, MAX_RECORD
from tests.replica.conftest import (
    PEER,
    PEER_MAC,
    STACK,
    VNET,
    VOUCHED,
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


def test_the_driver_is_told_how_a_flow_ends_and_not_woken(world):
    """Of some that end the kernel sees nothing: those of the stack with itself, those that we reset."""
    *_ends, peer = established(world)
    await_true(lambda: drivers(world) and world.tx.prepare_sleep(), "a driver that sleeps")
    bells = world.counters()["doorbells"]
    peer.send("R")
    kinds = []
    await_true(lambda: kinds.extend(kind for kind, _ in drivers(world)[0]) or kinds, "how it ended")
    assert kinds == [FLOW_DELETE]
    Peer(world, 40001).connect()
    assert world.counters()["doorbells"] == bells


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


@pytest.mark.parametrize("word", [0, 16, 64, 128])
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


# --- long text


def bring(world, channel, peer, message, text):
    """Long text of a peer, read by its application at once."""
    end = channel.get(message.sock, "rx_tail") + len(text)
    peer.send("PA", text)
    await_true(lambda: channel.get(message.sock, "rx_tail") == end, "its text")
    assert channel.read(message.sock) == text


def second(world, listener, sport):
    peer = Peer(world, sport)
    peer.connect()
    message, end = world.accept(listener)
    return peer, message, end


def test_long_text_is_read_straight_into_its_ring(world):
    """Around the end of the ring, too: it has 64 KiB."""
    world.vnet = VOUCHED
    channel, _listener, message, _end, peer = established(world)
    rng = random.Random(4)
    for _ in range(12):
        bring(world, channel, peer, message, rng.randbytes(rng.randrange(5_000, 25_000)))
    counters = world.counters()
    assert (counters["queue_rx_placed"], counters["queue_rx_misplaced"]) == (11, 0)


def test_text_of_another_flow_is_copied_from_where_it_was_read_to(world):
    world.vnet = VOUCHED
    channel, listener, message, _end, peer = established(world)
    other = second(world, listener, 40001)
    rng = random.Random(5)
    for _ in range(6):
        bring(world, channel, peer, message, rng.randbytes(9_000))
        bring(world, channel, other[0], other[1], rng.randbytes(rng.choice([3_000, 9_000, 60_000])))
    assert world.counters()["queue_rx_misplaced"] >= 6


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 5_000},  # a gap before it
        {"seq": -5_000},  # some of it was there before
        {"options": [("NOP", None), ("NOP", None), ("NOP", None), ("NOP", None)]},
        {"flags": "PAF"},
        {"flags": "PAU"},
    ],
)
def test_a_frame_that_is_not_quite_what_was_expected(world, change):
    """The stream is as it would be without guessing."""
    world.vnet = VOUCHED
    channel, _listener, message, _end, peer = established(world)
    stream = random.Random(6).randbytes(40_000)
    bring(world, channel, peer, message, stream[:20_000])
    at = 20_000 + change.get("seq", 0)
    frame = peer.segment(change.get("flags", "PA"), stream[at : at + 20_000])
    frame[TCP].seq = (frame[TCP].seq + change.get("seq", 0)) % (1 << 32)
    if "options" in change:
        frame[TCP].options = change["options"]
    world.inject(frame)
    world.inject(peer.segment("PA", stream[20_000:40_000]))
    await_true(lambda: channel.get(message.sock, "rx_tail") == 40_000, "all of it")
    assert channel.read(message.sock) == stream[20_000:]


def test_nothing_is_guessed_where_a_second_application_could_see_it(world):
    world.vnet = VOUCHED
    channel, _listener, message, _end, peer = established(world)
    world.attach(2)
    for _ in range(3):
        bring(world, channel, peer, message, bytes(9_000))
    counters = world.counters()
    assert (counters["queue_rx_placed"], counters["queue_rx_misplaced"]) == (0, 0)


def test_long_text_leaves_from_where_it_lies(world):
    """Around the end of the ring, too. What is sent again is the same text."""
    channel, _listener, message, _end, peer = established(world)
    rng = random.Random(7)
    begin = peer.ack
    stream = bytearray()
    for _ in range(8):
        text = rng.randbytes(rng.randrange(5_000, 14_000))
        stream += text
        channel.write(message.sock, text)
        while peer.ack - begin < len(stream):
            tcp = peer.expect("more text", lambda tcp: len(tcp.payload) > 0)
            at = tcp.seq - begin
            assert bytes(tcp.payload) == stream[at : at + len(tcp.payload)]
            peer.ack = max(peer.ack, tcp.seq + len(tcp.payload))
            peer.send("A")
