"""A replica signals sockets to pollers in shared memory: bits, bells, what is owed to the descriptor, and
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
    NEAT_REQ_RESIGNAL,
    NEAT_REQ_TELL,
    neat_channel,
    neat_poller,
)
from neat.abi.messages import Message, Op
from tests.replica.conftest import GEOMETRY, PATIENCE_S, Peer, accept, await_true
from tests.replica.test_replica import await_poll, established, poll


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


def watch(channel, sock, slot):
    channel.put(sock, "watcher", slot + 1 if slot is not None else 0)


def poller_offset(slot):
    return neat_channel["pollers"].offset + slot * neat_poller.size


def sleep(channel, slot):
    neat_poller.put(channel.memory, "asleep", 1, poller_offset(slot))


def asleep(channel, slot):
    return neat_poller.get(channel.memory, "asleep", poller_offset(slot))


def take_bit(channel, sock):
    at = NEAT_EVENTS_OFFSET + sock // 64 * 8
    bits = struct.unpack_from("<Q", channel.memory, at)[0]
    taken = bits >> sock % 64 & 1
    if taken:  # else it is left alone: to write the word back would undo the replica's store
        struct.pack_into("<Q", channel.memory, at, bits & ~(1 << sock % 64))
    return taken


def request(channel, sock, bits):
    channel.put(sock, "request", channel.get(sock, "request") | bits)
    channel.touch(sock)


def watched(world, slot=3):
    """A connection that poller `slot` watches: (channel, its index, its end, the peer, the bell)."""
    channel, _listener, message, end, peer = established(world)
    bell = Bell(world, slot)
    assert bell.read() == b"b"  # a new bell is rung once
    watch(channel, message.sock, slot)
    world.ends += [_listener]
    return channel, message.sock, end, peer, bell


def test_a_sleeping_poller_is_rung_and_its_descriptor_is_left_alone(world):
    channel, sock, end, peer, bell = watched(world)
    sleep(channel, 3)
    peer.send("PA", b"hello")
    assert bell.read() == b"b"
    assert take_bit(channel, sock) and not asleep(channel, 3)
    assert channel.get(sock, "in_token") == 0 and not poll(end, select.POLLIN)


def test_a_poller_that_is_awake_is_not_rung(world):
    channel, sock, _end, peer, bell = watched(world)
    peer.send("PA", b"hello")
    await_true(lambda: take_bit(channel, sock), "its event bit")
    assert not bell.poll()


def test_room_is_told_without_draining_anything(world):
    channel, sock, end, peer, bell = watched(world)
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
    world.process.kill()
    assert await_poll(end, select.POLLIN) & select.POLLERR


def test_what_a_poller_heard_is_owed_to_the_descriptor(world):
    """The peer's FIN shows on the descriptor when the poller has given the socket up."""
    channel, sock, end, peer, bell = watched(world)
    sleep(channel, 3)
    peer.send("FPA", b"bye")
    assert bell.read() == b"b"
    assert not poll(end, select.POLLIN | select.POLLRDHUP)
    watch(channel, sock, None)
    request(channel, sock, NEAT_REQ_RESIGNAL)
    assert await_poll(end, select.POLLRDHUP) & select.POLLIN
    assert end.recv(8) == b"t"


def test_a_reset_is_owed_too(world):
    channel, sock, end, peer, bell = watched(world)
    sleep(channel, 3)
    peer.send("R")
    assert bell.read() == b"b"
    assert not poll(end) & (select.POLLERR | select.POLLHUP)
    watch(channel, sock, None)
    request(channel, sock, NEAT_REQ_RESIGNAL)
    assert await_poll(end, select.POLLRDHUP) & (select.POLLERR | select.POLLHUP)


def test_all_pollers_are_told(world):
    channel, sock, _end, _peer, bell = watched(world)
    other = Bell(world, 9)
    assert other.read() == b"b"
    sleep(channel, 3)
    sleep(channel, 9)
    watch(channel, sock, None)
    request(channel, sock, NEAT_REQ_TELL)
    assert bell.read() == b"b" and other.read() == b"b"
    assert take_bit(channel, sock)


def test_a_watched_connection_ends_with_its_descriptor(world):
    _channel, _sock, end, peer, _bell = watched(world)
    end.close()
    world.expect(lambda frame: TCP in frame and "F" in str(frame[TCP].flags), "FIN")
    assert peer is not None


def test_bell_hangs_up_with_the_replica(world):
    *_rest, bell = watched(world)
    world.process.kill()
    assert bell.read() == b""


def test_a_bell_in_the_place_of_another(world):
    channel, sock, _end, peer, bell = watched(world)
    newer = Bell(world, 3)
    assert newer.read() == b"b"
    assert bell.read() == b""
    sleep(channel, 3)
    peer.send("PA", b"x")
    assert newer.read() == b"b" and take_bit(channel, sock)


def test_pollers_that_lie_stop_nobody(world):
    """A bell that is full, watchers and bits at random, slots that do not exist."""
    channel, sock, _end, peer, bell = watched(world)
    bell.fill()
    for app, slot in ((1, NEAT_POLLERS), (1, 2**32 - 1), (77, 0)):
        assert Bell(world, slot, app).read() == b"", "it is not kept"
    rng = random.Random(3)
    for _ in range(600):
        watch(channel, sock, rng.choice([3, 3, 3, 23, 24, 100, 2**32 - 2, rng.getrandbits(31)]))
        sleep(channel, 3)
        peer.send("PA", b"x")
        channel.memory[NEAT_EVENTS_OFFSET + 8 : NEAT_EVENTS_OFFSET + 64] = rng.randbytes(56)
    world.await_counter("tcp_bytes_in", 600)
    assert bell.read() == bytes(8)
    other = world.attach(2)
    listener = world.listen(2, port=81)
    guest = Peer(world, 50000, 81)
    guest.connect()
    message, end = accept(listener)
    guest.send("PA", b"fine")
    assert await_poll(end, select.POLLIN)
    assert other.get(message.sock, "rx_tail") == 4


def test_what_an_application_writes_at_any_time(world):
    """Requests, signals, bells that are no sockets: the replica goes on, and serves the next application."""
    channel, sock, _end, peer, _bell = watched(world)
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
        name = rng.choice(("request", "watcher", "inode", "in_token", "out_block"))
        value = rng.choice((0, 1, 32, 64, NEAT_OUT_WANTED, 2**32 - 1, rng.getrandbits(32)))
        channel.put(victim, name, value)
        sleep(channel, rng.randrange(NEAT_POLLERS))
        channel.touch(rng.choice((sock, 3, rng.randrange(GEOMETRY[0]))))
        if turn % 20 == 0:
            peer.send("PA", b"x")
    other = world.attach(2)
    listener = world.listen(2, port=82)
    guest = Peer(world, 50001, 82)
    guest.connect()
    message, end = accept(listener)
    guest.send("PA", b"fine")
    assert await_poll(end, select.POLLIN)
    assert other.get(message.sock, "rx_tail") == 4
    assert world.process.poll() is None
