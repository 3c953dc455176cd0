"""The steering segment: layout, slot states, and an indirection table that moves as little as possible."""

import os
import struct
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neat.shm import segment, steering
from neat.shm.segment import Segment, SegmentError
from neat.shm.steering import ENTRIES, NOBODY, SLOTS, SlotState, Steering, balance, steering_bytes
from neat.wire.testing import flow_key

FLOWS = 1024
ACTIVE, TERMINATING, RECOVERING = SlotState.SLOT_ACTIVE, SlotState.SLOT_TERMINATING, SlotState.SLOT_RECOVERING


@pytest.fixture
def fd():
    fd = segment.create("steering", steering_bytes(FLOWS))
    steering.initialise(fd, FLOWS)
    yield fd
    os.close(fd)


def test_layout(fd):
    expected = {
        "SteeringHeader": 1216,
        "ReplicaSlot": 16,
        "Quarantine": 32,
        "FlowEntry": 64,
        "FlowKey": 40,
        "indirection": 64,
        "slots": 192,
        "quarantine": 448,
        "quarantined": 960,
        "learnt": 1024,
        "program.flows": 1088,
        "flows": 4096,
        "flow.state": 40,
        "flow.epoch": 44,
        "flow.seen": 48,
        "flow.replica": 56,
    }
    assert steering.layout().items() >= expected.items()
    table = Steering(fd, FLOWS, writable=True)
    table.set_state(5, ACTIVE)
    table.bump_epoch(5)
    page = bytes(table.segment.view[:448])
    magic, form, version, capacity, key, indirection = struct.unpack_from("=IIII40s8x128s", page)
    assert (magic, form, version, capacity) == (0x52455453, 2, 2, FLOWS)
    assert key == table.rss_key and indirection == table.indirection == bytes([5]) * ENTRIES
    assert struct.unpack_from("=II", page, 192 + 5 * 16) == (ACTIVE, 1)


def test_born_with_a_random_key_and_nobody():
    keys = set()
    for _ in range(2):
        fd = segment.create("steering", steering_bytes(FLOWS))
        steering.initialise(fd, FLOWS)
        table = Steering(fd, FLOWS)
        keys.add(table.rss_key)
        assert set(table.indirection) == {NOBODY}
        assert all(slot.state_name == "absent" and slot.entries == 0 for slot in table.slots())
        os.close(fd)
    assert len(keys) == 2


def test_given_key():
    fd = segment.create("steering", steering_bytes(FLOWS))
    steering.initialise(fd, FLOWS, bytes(range(40)))
    assert Steering(fd, FLOWS).rss_key == bytes(range(40))
    with pytest.raises(ValueError, match="40 bytes, not 16"):
        steering.initialise(fd, FLOWS, bytes(16))
    os.close(fd)


def test_only_active_slots_have_entries(fd):
    table = Steering(fd, FLOWS, writable=True)
    for slot in range(3):
        table.set_state(slot, SlotState.SLOT_STARTING)
        assert slot not in table.indirection
        table.set_state(slot, ACTIVE)
    assert sorted(Counter(table.indirection).values()) == [42, 43, 43]
    for state in (RECOVERING, TERMINATING, SlotState.SLOT_ABSENT):
        before = table.indirection
        table.set_state(1, state)
        after = table.indirection
        assert 1 not in after
        assert all(old == new for old, new in zip(before, after, strict=True) if old != 1)
        table.set_state(1, ACTIVE)
    for slot in range(3):
        table.set_state(slot, TERMINATING)
    assert set(table.indirection) == {NOBODY}


def test_every_change_bumps_the_version(fd):
    table = Steering(fd, FLOWS, writable=True)
    reader = Steering(fd, FLOWS)
    seen = [reader.version]
    for change in (lambda: table.set_state(0, ACTIVE), lambda: table.bump_epoch(0), table.rebuild):
        change()
        seen.append(reader.version)
    assert seen == sorted(set(seen))


@settings(deadline=None)
@given(
    st.lists(st.sets(st.integers(0, SLOTS - 1)), max_size=8), st.binary(min_size=ENTRIES, max_size=ENTRIES)
)
def test_balance_is_even_and_stable(changes, table):
    """Whatever the table was: an even share for each, and not one entry more moved than that needs."""
    for accepting in changes:
        before, table = table, balance(table, accepting)
        if not accepting:
            assert set(table) == {NOBODY}
            continue
        owned = Counter(table)
        assert set(owned) == accepting
        assert max(owned.values()) - min(owned.values()) <= 1
        share, extra = divmod(ENTRIES, len(accepting))
        had = sorted((Counter(before)[slot] for slot in accepting), reverse=True)
        stay = sum(min(n, share + (rank < extra)) for rank, n in enumerate(had))
        assert sum(old == new for old, new in zip(before, table, strict=True)) >= stay


def test_flows_are_counted_by_slot_and_epoch(fd):
    table = Steering(fd, FLOWS, writable=True)
    key = flow_key(4, 6, b"\x0a\0\0\2", 80, b"\x0a\0\0\1", 4000)

    driver = Segment(fd, steering_bytes(FLOWS))

    def write(index, state, epoch, replica):
        driver.view[4096 + 64 * index : 4096 + 64 * (index + 1)] = key + struct.pack(
            "=IIQB7x", state, epoch, 0, replica
        )

    table.bump_epoch(2)
    write(0, 2, 1, 2)
    write(1, 1, 1, 2)
    write(2, 2, 0, 2)  # of an earlier epoch
    write(3, 0, 1, 2)  # free
    write(4, 2, 0, 255)  # nonsense
    write(FLOWS - 1, 2, 0, 15)
    assert table.flow_counts() == [0, 0, 2] + [0] * 12 + [1]


def test_nonsense_is_refused(fd):
    table = Steering(fd, FLOWS, writable=True)
    for slot in (-1, SLOTS):
        with pytest.raises(ValueError, match="must be 0 to 15"):
            table.set_state(slot, ACTIVE)
    with pytest.raises(ValueError, match="no state"):
        table.set_state(0, 9)
    with pytest.raises(SegmentError, match="read-only"):
        Steering(fd, FLOWS).set_state(0, ACTIVE)
    for flows in (0, 63, FLOWS + 1, 1 << 25):
        with pytest.raises(SegmentError, match="power of two"):
            steering_bytes(flows)


@pytest.mark.parametrize(
    "place, text", [(0, "no steering segment"), (4, "no steering"), (12, "flows instead of")]
)
def test_a_header_that_disagrees_is_refused(fd, place, text):
    Segment(fd, steering_bytes(FLOWS)).view[place] ^= 0x10
    with pytest.raises(SegmentError, match=text):
        Steering(fd, FLOWS)
