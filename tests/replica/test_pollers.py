"""A replica tells pollers in shared memory: bits, bells, what the descriptor does not show meanwhile, and
pollers that lie."""

import os
import random
import select
import struct

from scapy.layers.inet import TCP

from neat.abi.layout import (
    NEAT_EVENTS_OFFSET,
    NEAT_OUT_WANTED,
    NEAT_POLLERS,
    NEAT_REQ_NOTIFY,
    NEAT_SOCK_WORDS,
    NEAT_WAITER,
    NEAT_WAITERS_UNSEEN,
    neat_channel,
    neat_poller,
)
from neat.abi.messages import Message, Op
from tests.replica.conftest import GEOMETRY, PATIENCE_S, Peer, await_true
from tests.replica.test_replica import await_poll, established, poll

UNSEEN, WAITER = NEAT_WAITERS_UNSEEN, NEAT_WAITER


class Bell:
    """The read end of a pipe; reading waits with patience. The other end is the replica's alone."""

    def __init__(self, world, slot, app=1):
        self.fd, theirs = os.pipe()
        world.say(Message(Op.ADD_POLLER, app=app, u=(slot,)), theirs)
        os.close(theirs)
        world.ends.append(self)

    def read(self):
        assert self.poll(PATIENCE_S), "no ring"
        return os.read(self.fd, 8)

    def poll(self, seconds=0.0):
        return bool(select.select([self.fd], [], [], seconds)[0])

    def fill(self):
        """As an application can that opens its end a second time, for writing."""
        with open(f"/proc/self/fd/{self.fd}", "wb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            while pipe.write(bytes(4096)):
                pass

    def close(self):
        os.close(self.fd)


def set_waiters(channel, sock, waiters):
    channel.put(sock, "waiters", waiters)


def poller_offset(slot):
    return neat_channel["pollers"].offset + slot * neat_poller.size


def sleep(channel, slot):
    neat_poller.put(channel.memory, "asleep", 1, poller_offset(slot))


def asleep(channel, slot):
    return neat_poller.get(channel.memory, "asleep", poller_offset(slot))


def take_bit(channel, sock, slot=3):
    """The word of the summary, then the bit: each is left alone where it is 0, as to write a word back would
    undo the replica's store."""
    word = sock // 64
    if not neat_poller.get(channel.memory, "summary", poller_offset(slot), word // 64) >> word % 64 & 1:
        return 0
    neat_poller.put(channel.memory, "summary", 0, poller_offset(slot), word // 64)
    at = NEAT_EVENTS_OFFSET + (slot * NEAT_SOCK_WORDS + word) * 8
    bits = struct.unpack_from("<Q", channel.memory, at)[0]
    struct.pack_into("<Q", channel.memory, at, 0)
    return bits >> sock % 64 & 1


def request(channel, sock, bits):
    channel.put(sock, "request", channel.get(sock, "request") | bits)
    channel.touch(sock)


def polled(world, slot=3):
    """A connection that only poller `slot` hears of: (channel, its index, its end, the peer, the bell)."""
    channel, _listener, message, end, peer = established(world)
    bell = Bell(world, slot)
    assert bell.read() == b"b"  # a new bell is rung once
    set_waiters(channel, message.sock, 1 << slot)
    world.ends += [_listener]
    return channel, message.sock, end, peer, bell


def test_a_sleeping_poller_is_rung_and_its_descriptor_is_left_alone(world):
    channel, sock, end, peer, bell = polled(world)
    sleep(channel, 3)
    peer.send("PA", b"hello")
    assert bell.read() == b"b"
    assert take_bit(channel, sock) and not asleep(channel, 3)
    assert channel.get(sock, "in_token") == 0 and not poll(end, select.POLLIN)


def test_a_poller_that_is_awake_is_not_rung(world):
    channel, sock, _end, peer, bell = polled(world)
    peer.send("PA", b"hello")
    await_true(lambda: take_bit(channel, sock), "its event bit")
    assert not bell.poll()


def test_room_is_told_without_draining_anything(world):
    channel, sock, end, peer, bell = polled(world)
    channel.write(sock, bytes(GEOMETRY[2]))
    channel.put(sock, "out_block", NEAT_OUT_WANTED)
    sleep(channel, 3)
    seen = 0
    while seen < GEOMETRY[2] // 2:
        frame = world.expect(lambda f: TCP in f and f[TCP].payload, "text")
        seen += len(frame[TCP].payload)
        peer.ack = frame[TCP].seq + len(frame[TCP].payload)
        peer.send("A")
    assert bell.read() == b"b"
    assert take_bit(channel, sock) and channel.get(sock, "out_block") == 0
    # The canary is in its place: when the replica dies, that reads as a reset.
    world.lose()
    assert await_poll(end, select.POLLIN) & select.POLLERR


def test_what_only_a_poller_heard_is_shown_when_somebody_waits_on_the_descriptor(world):
    """The peer's FIN."""
    channel, sock, end, peer, bell = polled(world)
    sleep(channel, 3)
    peer.send("FPA", b"bye")
    assert bell.read() == b"b"
    assert not poll(end, select.POLLIN | select.POLLRDHUP)
    set_waiters(channel, sock, 1 << 3 | UNSEEN)
    request(channel, sock, NEAT_REQ_NOTIFY)
    assert await_poll(end, select.POLLRDHUP) & select.POLLIN
    assert end.recv(8) == b"t"


def test_so_is_a_reset(world):
    channel, sock, end, peer, bell = polled(world)
    sleep(channel, 3)
    peer.send("R")
    assert bell.read() == b"b"
    assert not poll(end) & (select.POLLERR | select.POLLHUP)
    set_waiters(channel, sock, WAITER)
    request(channel, sock, NEAT_REQ_NOTIFY)
    assert await_poll(end, select.POLLRDHUP) & (select.POLLERR | select.POLLHUP)


def test_all_who_wait_are_told(world):
    """Two pollers, and one who sleeps on the descriptor."""
    channel, sock, end, peer, bell = polled(world)
    other = Bell(world, 9)
    assert other.read() == b"b"
    set_waiters(channel, sock, 1 << 3 | 1 << 9 | WAITER)
    sleep(channel, 3)
    sleep(channel, 9)
    peer.send("PA", b"hello")
    assert bell.read() == b"b" and other.read() == b"b"
    assert take_bit(channel, sock) and take_bit(channel, sock, 9)
    assert await_poll(end, select.POLLIN) and end.recv(8) == b"t"


def test_nobody_waits_so_nothing_is_told(world):
    """Until somebody does, and asks for it."""
    channel, sock, end, peer, bell = polled(world)
    set_waiters(channel, sock, 0)
    sleep(channel, 3)
    peer.send("PA", b"hello")
    await_true(lambda: channel.get(sock, "rx_tail") == 5, "the bytes are there")
    peer.send("R")
    await_true(lambda: channel.get(sock, "error_count") == 1, "the reset")
    assert not bell.poll() and not take_bit(channel, sock) and not poll(end, select.POLLIN)
    set_waiters(channel, sock, 1 << 3)
    request(channel, sock, NEAT_REQ_NOTIFY)
    assert bell.read() == b"b" and take_bit(channel, sock)
    assert not poll(end, select.POLLIN)


def test_a_polled_connection_ends_with_its_descriptor(world):
    _channel, _sock, end, peer, _bell = polled(world)
    end.close()
    world.expect(lambda frame: TCP in frame and "F" in str(frame[TCP].flags), "FIN")
    assert peer is not None


def test_bell_hangs_up_with_the_replica(world):
    *_rest, bell = polled(world)
    world.lose()
    assert bell.read() == b""


def test_a_bell_in_the_place_of_another(world):
    channel, sock, _end, peer, bell = polled(world)
    newer = Bell(world, 3)
    assert newer.read() == b"b"
    assert bell.read() == b""
    sleep(channel, 3)
    peer.send("PA", b"x")
    assert newer.read() == b"b" and take_bit(channel, sock)


def test_pollers_that_lie_stop_nobody(world):
    """A bell that is full, waiters and bits at random, slots that do not exist."""
    channel, sock, _end, peer, bell = polled(world)
    bell.fill()
    for app, slot in ((1, NEAT_POLLERS), (1, 2**32 - 1), (77, 0)):
        assert Bell(world, slot, app).read() == b"", "it is not kept"
    rng = random.Random(3)
    for _ in range(600):
        bits = (1 << 3, 1 << 23, 1 << 24, 1 << 30, 2**64 - 1, rng.getrandbits(64))
        set_waiters(channel, sock, rng.choice(bits))
        sleep(channel, 3)
        peer.send("PA", b"x")
        at = NEAT_EVENTS_OFFSET + rng.randrange(NEAT_POLLERS) * NEAT_SOCK_WORDS * 8
        channel.memory[at + 8 : at + 64] = rng.randbytes(56)
        neat_poller.put(channel.memory, "summary", rng.getrandbits(64), poller_offset(3))
    world.await_counter("tcp_bytes_in", 600)
    assert bell.read() == bytes(8)
    other = world.attach(2)
    listener = world.listen(2, port=81)
    guest = Peer(world, 50000, 81)
    guest.connect()
    message, end = world.accept(listener)
    guest.send("PA", b"fine")
    assert await_poll(end, select.POLLIN)
    assert other.get(message.sock, "rx_tail") == 4


def test_what_an_application_writes_at_any_time(world):
    """Requests, signals, bells that are no sockets: the replica goes on, and serves the next application."""
    channel, sock, _end, peer, _bell = polled(world)
    for slot in range(NEAT_POLLERS):
        with open(os.devnull, "rb") as null:
            world.say(Message(Op.ADD_POLLER, app=1, u=(slot,)), null.fileno())
        read_end, write_end = os.pipe()
        world.say(Message(Op.ADD_POLLER, app=1, u=(slot,)), write_end)
        os.close(read_end)
        os.close(write_end)
    rng = random.Random(4)
    for turn in range(2000):
        victim = rng.choice((sock, 3, 300, rng.randrange(GEOMETRY[0])))
        name = rng.choice(("request", "waiters", "inode", "in_token", "out_block"))
        value = rng.choice((0, 1, 32, 64, NEAT_OUT_WANTED, 2**32 - 1, rng.getrandbits(64)))
        channel.put(victim, name, value)
        sleep(channel, rng.randrange(NEAT_POLLERS))
        channel.touch(rng.choice((sock, 3, rng.randrange(GEOMETRY[0]))))
        if turn % 20 == 0:
            peer.send("PA", b"x")
    other = world.attach(2)
    listener = world.listen(2, port=82)
    guest = Peer(world, 50001, 82)
    guest.connect()
    message, end = world.accept(listener)
    guest.send("PA", b"fine")
    assert await_poll(end, select.POLLIN)
    assert other.get(message.sock, "rx_tail") == 4
    assert world.process.poll() is None
