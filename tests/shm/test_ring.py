"""The frame ring within one process: a model, its edges, and a peer that breaks the contract."""

import struct
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neat.shm import segment
from neat.shm.pyring import FRAME, MAX_RECORD, PAD, RING_HEADER, FrameRing, ring_bytes
from neat.shm.segment import Segment

TAIL, HEAD, SLEEPING = 0, 64, 72  # offsets in RingHeader
CAPACITY = 4096
GUARD = 4096


class Pair:
    """Both sides of a ring that lies between two guard pages, its counters beginning at `base`."""

    def __init__(self, capacity=CAPACITY, base=0):
        import os

        self.capacity = capacity
        size = 2 * GUARD + segment.page_align(ring_bytes(capacity))
        fd = segment.create("ring", size)
        self.segment = Segment(fd, size)
        os.close(fd)
        self.segment.view[:GUARD] = b"\xc5" * GUARD
        self.after = GUARD + ring_bytes(capacity)
        self.segment.view[self.after :] = b"\xc5" * (size - self.after)
        self.view = self.segment.view[GUARD : self.after]
        self.poke(TAIL, base)
        self.poke(HEAD, base)
        self.attach()

    def attach(self):
        self.producer = FrameRing(self.view, self.capacity, producer=True)
        self.consumer = FrameRing(self.view, self.capacity, producer=False)

    def poke(self, offset, value):
        struct.pack_into("=Q", self.view, offset, value % 2**64)

    def poke_record(self, position, length, type):
        """Overwrite the record header at a byte position of the data."""
        struct.pack_into("=IHHQ", self.view, RING_HEADER + position, length, type, 0, 0)

    def guards_intact(self):
        view = self.segment.view
        return set(view[:GUARD]) | set(view[self.after :]) == {0xC5}


def drain(ring):
    records = []
    while (record := ring.pop()) is not None:
        records.append(record)
    ring.release()
    return records


def test_a_record_appears_when_it_is_published():
    pair = Pair()
    assert pair.producer.push(b"frame", FRAME, 7)
    assert pair.consumer.pop() is None
    assert not pair.producer.publish()
    assert pair.consumer.pop() == (FRAME, 7, b"frame")
    assert pair.consumer.pop() is None


def test_full_ring_takes_more_after_release_only():
    pair = Pair()
    pushed = 0
    while pair.producer.push(bytes([pushed]) * 100):
        pushed += 1
    assert pushed == CAPACITY // 128
    pair.producer.publish()
    assert pair.consumer.pop()[2] == b"\0" * 100
    assert not pair.producer.push(b"x" * 100)
    pair.consumer.release()
    assert pair.producer.push(b"x" * 100)
    assert not pair.producer.broken


@pytest.mark.parametrize("length", [MAX_RECORD, 65535, 65549, 1])
def test_large_records_wrap(length):
    pair = Pair(1 << 18)
    for number in range(50):
        body = bytes([number]) * length
        assert pair.producer.push(body)
        pair.producer.publish()
        assert drain(pair.consumer) == [(FRAME, 0, body)]
    assert pair.guards_intact()


def test_a_record_that_can_never_fit_is_refused():
    pair = Pair()
    assert pair.producer.push(b"x" * (CAPACITY // 2 - 16))
    assert not Pair().producer.push(b"x" * (CAPACITY // 2 - 15))
    with pytest.raises(ValueError):
        pair.producer.push(b"x" * (MAX_RECORD + 1))


def test_discard_frees_what_was_published():
    pair = Pair()
    for _ in range(3):
        pair.producer.push(b"old" * 100)
    pair.producer.publish()
    pair.producer.push(b"new")
    pair.consumer.pop()
    pair.consumer.discard()
    assert pair.consumer.counters[0] == pair.consumer.counters[1]
    pair.producer.publish()
    assert drain(pair.consumer) == [(FRAME, 0, b"new")]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, CAPACITY // 2 - 16)),
        st.sampled_from(["publish", "pop", "pop", "release", "producer dies", "consumer dies"]).map(
            lambda n: (n, 0)
        ),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(operations, st.sampled_from([0, 64 * 1000, 2**64 - 64, 2**64 - 8192]))
def test_behaves_like_a_queue(script, base):
    """Either side may die: what was not published is gone, what was not released comes again."""
    pair = Pair(base=base)
    committed, published, taken = [], deque(), []
    number = 0
    for name, length in script:
        if name == "push":
            body = number.to_bytes(8, "little") * (length // 8) + b"." * (length % 8)
            if pair.producer.push(body, FRAME, number):
                committed.append((FRAME, number, body))
                number += 1
            else:
                assert committed or published or taken, "an empty ring takes any record"
        elif name == "publish":
            pair.producer.publish()
            published.extend(committed)
            committed.clear()
        elif name == "pop":
            record = pair.consumer.pop()
            assert record == (published[0] if published else None)
            if published:
                taken.append(published.popleft())
        elif name == "release":
            pair.consumer.release()
            taken.clear()
        elif name == "producer dies":
            pair.producer = FrameRing(pair.view, CAPACITY, producer=True)
            committed.clear()
        else:
            pair.consumer = FrameRing(pair.view, CAPACITY, producer=False)
            published.extendleft(reversed(taken))
            taken.clear()
        assert not pair.producer.broken and not pair.consumer.broken
    pair.producer.publish()
    assert drain(pair.consumer) == [*published, *committed]
    assert pair.guards_intact()


@pytest.mark.parametrize("tail, head", [(64, 128), (CAPACITY + 64, 0), (1, 0), (65, 1), (2**63, 0)])
def test_attach_refuses_impossible_counters(tail, head):
    pair = Pair()
    pair.poke(TAIL, tail)
    pair.poke(HEAD, head)
    for producer in (True, False):
        with pytest.raises(ValueError, match="make no sense"):
            FrameRing(pair.view, CAPACITY, producer=producer)


@pytest.mark.parametrize("capacity", [0, 64, 3 * 1024, CAPACITY * 2, 2**63])
def test_attach_refuses_impossible_geometry(capacity):
    with pytest.raises(ValueError):
        FrameRing(Pair().view, capacity, producer=True)


@pytest.mark.parametrize("move", [-64, -(2**63), 64 * 100, 2**63, 1, 8])
def test_lying_consumer_breaks_the_producers_side(move):
    pair = Pair()
    while pair.producer.push(b"x" * 40):
        pass
    pair.producer.publish()
    drain(pair.consumer)
    assert pair.producer.push(b"x")
    while pair.producer.push(b"x" * 40):
        pass
    tail, head, _ = pair.producer.counters
    pair.poke(HEAD, head + move)
    for _ in range(3):
        assert not pair.producer.push(b"y" * 1000)
    assert pair.producer.broken
    assert not pair.producer.publish()
    assert pair.producer.counters[0] == tail, "a broken ring publishes nothing"
    assert pair.guards_intact()


@pytest.mark.parametrize("tail", [-64, 1, CAPACITY + 64, 2**63])
def test_lying_producer_breaks_the_consumers_side(tail):
    pair = Pair(base=64 * 10)
    pair.poke(TAIL, 64 * 10 + tail)
    assert pair.consumer.pop() is None
    assert pair.consumer.broken
    assert pair.consumer.prepare_sleep(), "a broken ring reads as empty"


@pytest.mark.parametrize(
    "length, type",
    [
        (2**32 - 1, FRAME),
        (2**32 - 16, FRAME),
        (113, FRAME),  # beyond the tail
        (CAPACITY - 15, FRAME),
        (0, PAD),
        (112, PAD),  # a PAD must end where the ring ends
        (2**32 - 1, PAD),
        (CAPACITY - 16, PAD),  # beyond the tail
    ],
)
def test_bad_record_header_breaks_the_consumers_side(length, type):
    pair = Pair()
    pair.producer.push(b"a" * 100)
    pair.producer.publish()
    pair.poke_record(0, length, type)
    assert pair.consumer.pop() is None
    assert pair.consumer.broken
    assert pair.consumer.pop() is None


def test_record_longer_than_any_frame_is_bad():
    pair = Pair(1 << 18)
    pair.poke_record(0, MAX_RECORD + 1, FRAME)
    pair.poke(TAIL, 1 << 17)
    assert pair.consumer.pop() is None and pair.consumer.broken


def test_record_across_the_end_is_bad():
    pair = Pair(base=CAPACITY - 64)
    pair.poke_record(CAPACITY - 64, 100, FRAME)
    pair.poke(TAIL, CAPACITY + 64)
    assert pair.consumer.pop() is None and pair.consumer.broken


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 4096), st.integers(0, 80), st.integers(0, 64))
def test_any_bytes_end_as_records_or_as_broken(junk, place, head, filled):
    """Random data under plausible counters: the consumer ends, within bounds."""
    pair = Pair(base=64 * head)
    data = (junk * (CAPACITY // max(len(junk), 1) + 1))[place:][:CAPACITY]
    pair.view[RING_HEADER : RING_HEADER + len(data)] = data
    pair.poke(TAIL, 64 * (head + filled))
    records = drain(pair.consumer)
    assert len(records) <= filled
    assert all(len(body) <= 64 * filled for _, _, body in records)
    assert pair.guards_intact()


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=RING_HEADER, max_size=RING_HEADER))
def test_any_header_bytes_break_or_work(header):
    pair = Pair()
    pair.producer.push(b"a")
    pair.producer.publish()
    pair.view[:RING_HEADER] = header
    for _ in range(100):
        pair.producer.push(b"b" * 500)
        pair.producer.publish()
        pair.consumer.pop()
        pair.consumer.release()
    assert pair.guards_intact()


def test_one_ring_of_the_bell_for_a_batch():
    pair = Pair()
    assert pair.consumer.prepare_sleep()
    assert pair.consumer.sleeping
    for _ in range(3):
        pair.producer.push(b"x")
    assert pair.producer.publish(), "the consumer sleeps: ring"
    pair.producer.push(b"x")
    assert not pair.producer.publish(), "it was rung for already"


def test_no_sleep_while_there_is_something():
    pair = Pair()
    pair.producer.push(b"x")
    pair.producer.publish()
    assert not pair.consumer.prepare_sleep()
    assert not pair.consumer.sleeping
    pair.consumer.pop()
    assert pair.consumer.prepare_sleep()
    pair.consumer.cancel_sleep()
    pair.producer.push(b"x")
    assert not pair.producer.publish()


def test_attaching_consumer_is_awake():
    pair = Pair()
    pair.consumer.prepare_sleep()
    pair.consumer = FrameRing(pair.view, CAPACITY, producer=False)
    assert not pair.consumer.sleeping
