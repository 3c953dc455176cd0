"""What an heir reads of a state segment that another replica has left."""

import os
import struct

import pytest

from neat.replica.core import ended_waits

MAGIC, VERSION, HEADER, WAIT = 0x54534E4E, 2, 4096, 128


def segment(head: bytes, size: int) -> bytes:
    """The table that is found in a segment that begins so."""
    fd = os.memfd_create("state")
    try:
        os.ftruncate(fd, size)
        os.pwrite(fd, head, 0)
        return ended_waits(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 100, HEADER, 2 * HEADER])
def test_what_is_no_state_has_none(size):
    assert segment(b"", size) == b""
    assert segment(struct.pack("<II", MAGIC, VERSION + 1)[:size], size) == b""


def test_numbers_without_bounds_are_bounded_by_the_segment():
    """It was written by a replica, who may be anybody by now."""
    sound = struct.pack("<II", MAGIC, VERSION)
    assert segment(sound + b"\xff" * (HEADER - 8), 2 * HEADER) == b""
    everything_at_once = b"\0\x10\0\0\0\0\0\0" * 20 + b"\xff" * 100
    assert len(segment(sound + everything_at_once, 2 * HEADER)) <= 2 * HEADER


def test_the_used_part_of_the_table():
    head = struct.pack("<II", MAGIC, VERSION) + (1).to_bytes(8, "little") * ((HEADER - 8) // 8)
    assert len(segment(head, 2 * HEADER)) == WAIT
