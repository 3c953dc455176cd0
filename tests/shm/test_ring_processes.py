"""The frame ring between real processes: killed producers, lying peers, random bytes, sleeping and waking."""

import os
import random
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from ring_peer import payload

import neat
from neat.shm import doorbell, segment, testing
from neat.shm.pyring import MAX_RECORD, FrameRing, ring_bytes
from neat.shm.segment import Segment

CAPACITY = 1 << 18
PEER = Path(__file__).with_name("ring_peer.py")
ROOT = Path(neat.__file__).parent.parent


@pytest.fixture
def ring_fd():
    fd = segment.create("ring", ring_bytes(CAPACITY))
    yield fd
    os.close(fd)


@contextmanager
def peer(role, fd, *args, pass_fds=()):
    """The other process; ended with the block, whatever happens in it."""
    process = subprocess.Popen(
        [sys.executable, str(PEER), role, str(fd), str(CAPACITY), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(fd, *pass_fds),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def take(ring, expected):
    """Pop one record and check all of it. False when there is none."""
    record = ring.pop()
    if record is None:
        assert not ring.broken
        return False
    _, stamp, body = record
    assert stamp == expected
    assert body == payload(expected)
    return True


def test_producer_killed_at_any_moment(ring_fd):
    """Its successor goes on where the published records end; nothing torn, lost or repeated in between."""
    view = Segment(ring_fd, ring_bytes(CAPACITY)).view
    ring = FrameRing(view, CAPACITY, producer=False)
    choose = random.Random(20)
    expected = 0
    with peer("killed", ring_fd) as server:
        for _ in range(150):
            server.stdin.write(f"{expected}\n")
            server.stdin.flush()
            pid = int(server.stdout.readline())
            until = expected + choose.randrange(1, 60)
            while expected < until:
                if take(ring, expected):
                    expected += 1
                else:
                    os.sched_yield()
                ring.release()
            os.kill(pid, signal.SIGKILL)
            assert server.stdout.readline() == "dead\n"
            while take(ring, expected):
                expected += 1
            ring.release()
    tail, head, _ = ring.counters
    assert tail == head > CAPACITY


def test_no_wake_up_is_lost(ring_fd):
    """The consumer sleeps whenever the ring is empty. A lost wake-up would leave it asleep."""
    view = Segment(ring_fd, ring_bytes(CAPACITY)).view
    ring = FrameRing(view, CAPACITY, producer=False)
    bell = doorbell.make()
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    count, expected, sleeps = 20_000, 0, 0
    with peer("produce", ring_fd, count, bell, pass_fds=(bell,)) as process:
        while expected < count:
            if take(ring, expected):
                expected += 1
                continue
            ring.release()
            if ring.prepare_sleep():
                sleeps += 1
                assert poll.poll(20_000), f"asleep for ever after record {expected}"
                doorbell.clear(bell)
                ring.cancel_sleep()
        assert process.wait(5) == 0
    os.close(bell)
    assert sleeps > 10


@pytest.mark.slow
@pytest.mark.parametrize("length", [8, 2000])
def test_no_wake_up_is_lost_between_compiled_loops(ring_fd, length):
    """As fast as it goes: 200,000 records meet the consumer at every step of its way to sleep."""
    memory = Segment(ring_fd, ring_bytes(CAPACITY))
    bell = doorbell.make()
    count = 200_000
    with peer("produce_fast", ring_fd, count, bell, length, pass_fds=(bell,)) as process:
        taken, sleeps = testing.consume(memory.address, CAPACITY, count, bell, 5_000)
        assert taken == count, f"asleep for ever, or out of order, from record {taken}"
        assert process.wait(5) == 0
    os.close(bell)
    assert sleeps > 100


def test_consumer_that_lies_all_the_time(ring_fd):
    """The producer writes on until it meets a lie, and ends its side then; it never crashes."""
    view = Segment(ring_fd, ring_bytes(CAPACITY)).view
    for seed in range(3):
        view[:256] = bytes(256)
        ring = FrameRing(view, CAPACITY, producer=True)
        with peer("lie", ring_fd, seed) as process:
            while not ring.broken:
                assert process.poll() is None
                ring.push(b"x" * 5000)
                ring.publish()
        assert not ring.push(b"x")


@pytest.mark.parametrize("role", ["scribble_all", "scribble_header"])
@pytest.mark.parametrize("side", ["producer", "consumer", "both"])
def test_random_bytes_under_a_running_side(ring_fd, role, side):
    """It ends as broken, or as records of a possible length; a broken side attaches again, or cannot."""
    view = Segment(ring_fd, ring_bytes(CAPACITY)).view
    producer = FrameRing(view, CAPACITY, producer=True)
    consumer = FrameRing(view, CAPACITY, producer=False)
    turns = broken = 0
    with peer(role, ring_fd, 10_000, 5) as process:
        while process.poll() is None:
            turns += 1
            if side != "consumer":
                producer.push(b"x" * (turns * 97 % 60_000))
                producer.publish()
            if side != "producer":
                record = consumer.pop()
                assert record is None or len(record[2]) <= MAX_RECORD
                consumer.release()
            if producer.broken or consumer.broken:
                broken += 1
                view[:128] = bytes(128)
                try:
                    producer = FrameRing(view, CAPACITY, producer=True)
                    consumer = FrameRing(view, CAPACITY, producer=False)
                except ValueError:
                    continue
        assert process.wait(5) == 0
    assert turns > 0
