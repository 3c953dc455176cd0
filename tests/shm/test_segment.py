"""Segments: sealed, checked on receipt, mapped in parts, given back."""

import fcntl
import os
import socket
import tempfile

import pytest

from neat.shm import segment
from neat.shm.pyring import buffer_address
from neat.shm.segment import PAGE, Segment, SegmentError


@pytest.fixture
def fd():
    fd = segment.create("test", 8 * PAGE)
    yield fd
    os.close(fd)


def test_nobody_can_resize_it(fd):
    for size in (0, PAGE, 9 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_it_is_not_inherited_by_accident(fd):
    assert not os.get_inheritable(fd)


def test_sizes_are_whole_pages():
    fd = segment.create("odd", 1)
    assert os.fstat(fd).st_size == PAGE
    segment.check(fd, 1)
    os.close(fd)
    with pytest.raises(SegmentError, match="size of 0"):
        segment.create("empty", 0)


@pytest.mark.parametrize("size", [PAGE, 7 * PAGE, 9 * PAGE])
def test_wrong_size_is_refused(fd, size):
    with pytest.raises(SegmentError, match=f"has {8 * PAGE} bytes instead of {size}"):
        Segment(fd, size)


def test_what_is_no_sealed_memfd_is_refused():
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, PAGE)
    with pytest.raises(SegmentError, match="not sealed"):
        Segment(unsealed, PAGE)
    os.close(unsealed)
    with tempfile.TemporaryFile() as file:
        file.truncate(PAGE)
        with pytest.raises(SegmentError):
            Segment(file.fileno(), PAGE)
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(SegmentError, match="no memfd"):
        Segment(sock.fileno(), PAGE)
    with pytest.raises(SegmentError, match="no memfd"):
        segment.check(1 << 20, PAGE)


def test_mappings_share_memory(fd):
    whole = Segment(fd, 8 * PAGE)
    part = Segment(fd, 8 * PAGE, start=2 * PAGE, length=PAGE, writable=False)
    whole.view[2 * PAGE : 2 * PAGE + 5] = b"hello"
    assert bytes(part.view[:5]) == b"hello"
    assert (whole.size, part.size) == (8 * PAGE, PAGE)
    assert whole.address == buffer_address(whole.view) and whole.address % PAGE == 0
    with pytest.raises(TypeError):
        part.view[0] = 1


@pytest.mark.parametrize("start, length", [(1, PAGE), (-PAGE, PAGE), (0, 9 * PAGE), (8 * PAGE, PAGE), (0, 0)])
def test_ranges_outside_are_refused(fd, start, length):
    with pytest.raises(SegmentError, match="no range of pages"):
        Segment(fd, 8 * PAGE, start=start, length=length)


def test_memory_stays_while_a_slice_lives(fd):
    view = Segment(fd, 8 * PAGE).view[PAGE : PAGE + 4]
    view[:] = b"keep"
    assert bytes(view) == b"keep"
    mapped = Segment(fd, 8 * PAGE)
    held = mapped.view[:4]
    with pytest.raises(BufferError):
        mapped.close()
    held.release()


def test_close_unmaps(fd):
    mapped = Segment(fd, 8 * PAGE)
    mapped.close()
    with pytest.raises(ValueError):
        mapped.view[0]


def test_large_segments_cost_what_is_written():
    """Several GiB are fine: only touched pages take memory, and a hole gives them back."""
    size = 4 << 30
    fd = segment.create("large", size)
    mapped = Segment(fd, size)
    assert os.fstat(fd).st_blocks == 0
    mapped.view[size - PAGE : size - PAGE + 1] = b"x"
    mapped.view[: 16 * PAGE] = b"y" * 16 * PAGE
    assert os.fstat(fd).st_blocks * 512 == 17 * PAGE
    mapped.give_back(0, 16 * PAGE)
    assert os.fstat(fd).st_blocks * 512 == PAGE
    assert bytes(mapped.view[:8]) == bytes(8)
    for start, length in ((1, PAGE), (0, 1), (-PAGE, PAGE), (size, PAGE)):
        with pytest.raises(SegmentError):
            mapped.give_back(start, length)
    os.close(fd)
