"""Shared-memory segments: memfds of a fixed size, sealed against resizing, passed as descriptors.
Read first: ARCHITECTURE.md, "Memory". What a program in the kernel reads too is a BPF map instead, whose size
is fixed from the start.

Whoever holds a segment may rely on its size for ever: nobody can truncate it under a mapping (SIGBUS).
Segments are sparse: they cost memory only where something was written.
"""

import errno
import fcntl
import mmap
import os
import sys
from pathlib import Path

from neat.shm import bpf
from neat.shm.pyring import buffer_address

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
PAGE = mmap.PAGESIZE
MFD_NOEXEC_SEAL = 8  # Linux 6.3
MAP_NORESERVE = 0x4000  # the same on x86-64 and arm64


class SegmentError(Exception):
    """A descriptor is not the segment that it should be; the text says why."""


def page_align(size: int) -> int:
    """`size` rounded up to whole pages."""
    return (size + PAGE - 1) & ~(PAGE - 1)


def create(name: str, size: int) -> int:
    """A new sealed segment of `size` bytes, rounded up to pages, all zero. Returns its descriptor."""
    size = page_align(size)
    if size <= 0:
        raise SegmentError(f"segment {name}: a size of {size} bytes makes no sense")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create(f"neat:{name}", flags | MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.memfd_create(f"neat:{name}", flags)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def check(fd: int, size: int) -> None:
    """SegmentError unless `fd` is a sealed memfd of exactly `size` bytes (rounded up to pages), or a BPF map
    of one such element."""
    size = page_align(size)
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        actual = os.fstat(fd).st_size
    except OSError as error:
        if (described := _map_description(fd)) is not None:
            _check_map(fd, described, size)
            return
        raise SegmentError(f"descriptor {fd} is no memfd: {error.strerror}") from None
    missing = SEALS & ~seals
    if missing:
        raise SegmentError(
            f"descriptor {fd} is not sealed against resizing (seals {seals:#x}, missing {missing:#x})"
        )
    if actual != size:
        raise SegmentError(f"descriptor {fd} has {actual} bytes instead of {size}")


def _map_description(fd: int) -> dict[str, int] | None:
    """What the kernel says of a BPF map, by the names of proc_pid_fdinfo(5). None: `fd` is none. The link in
    /proc cannot be had by a name: only the kernel gives out descriptors without a path."""
    try:
        if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:bpf-map":
            return None
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    return {name: int(value, 0) for name, _, value in fields if name.startswith(("map_", "value_", "max_"))}


def _check_map(fd: int, described: dict[str, int], size: int) -> None:
    kind = [described.get(name) for name in ("map_type", "max_entries", "map_flags")]
    if kind != [bpf.MAP_TYPE_ARRAY, 1, bpf.F_MMAPABLE]:
        raise SegmentError(f"descriptor {fd} is a BPF map that is no segment (type, entries, flags: {kind})")
    if described.get("value_size") != size:
        raise SegmentError(f"descriptor {fd} has {described.get('value_size')} bytes instead of {size}")


class Segment:
    """A checked mapping of a segment, or of a range of its pages; it does not own the descriptor.

    `address` and `size` are of what is mapped. The memory stays mapped while the object or a slice of
    `view` lives: who uses the address keeps the object.
    """

    def __init__(
        self, fd: int, size: int, *, start: int = 0, length: int | None = None, writable: bool = True
    ):
        """Map `length` bytes from `start` (whole pages) of the segment `fd`, which must have `size` bytes."""
        check(fd, size)
        size = page_align(size)
        length = size - start if length is None else page_align(length)
        if start % PAGE or start < 0 or length <= 0 or start + length > size:
            raise SegmentError(
                f"bytes {start}..{start + length} are no range of pages in a segment of {size}"
            )
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        options = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        try:
            self._map = mmap.mmap(fd, length, mmap.MAP_SHARED | MAP_NORESERVE, prot, offset=start, **options)
        except OSError as error:
            raise SegmentError(f"descriptor {fd} cannot be mapped: {error.strerror}") from None
        self.size = length
        self.writable = writable
        self.view = memoryview(self._map)
        self.address: int = buffer_address(self._map)

    def give_back(self, start: int, length: int) -> None:
        """Punch a hole: return whole pages to the kernel. They then read as zeros, for everybody."""
        if start % PAGE or length % PAGE or start < 0 or length < 0 or start + length > self.size:
            raise SegmentError(
                f"bytes {start}..{start + length} are no range of pages in a mapping of {self.size}"
            )
        if length:
            self._map.madvise(mmap.MADV_REMOVE, start, length)

    def close(self) -> None:
        """Unmap now. BufferError while somebody holds a slice of `view`; nobody may use the address after."""
        self.view.release()
        self._map.close()
