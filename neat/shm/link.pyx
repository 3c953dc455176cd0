"""Segment link k: the two frame rings between the driver and replica k (ARCHITECTURE.md, "Memory").

| offset                                | what                                        |
|---------------------------------------|---------------------------------------------|
| 0                                     | LinkHeader, 4096 bytes                      |
| 4096                                  | receive ring (driver produces), header+data |
| 4096 + ring_bytes(rx_capacity)        | transmit ring (replica produces)            |
| behind it                             | flight recorder (replica writes)            |
| behind it, on a page of its own       | Intake, then a ring with which the replica  |
|                                       | hands itself what it reads from its queue   |

Doorbells (eventfds) travel beside the segment: `rx` wakes the replica, `tx` wakes the driver. All transmit
rings share the driver's one doorbell. A consumer of several rings sets the sleeping flag of each, and looks
at each again, before it blocks.
"""

import os
import struct

from neat.shm.pyring import FRAME, MAX_RECORD, OWN_FRAME, RING_HEADER, FrameRing
from neat.shm.recorder import RECORDER_BYTES
from neat.shm.segment import Segment, SegmentError, page_align

from libc.stdint cimport uint64_t, uintptr_t
from neat.shm.atomic cimport load64
from neat.shm.recorder cimport Recorder
from neat.shm.ring cimport RECORD_ALIGN, RingHeader, ring_bytes

RECORD = struct.Struct("<IHHQ")  # RecordHeader
READING = struct.Struct("<QQIII")  # the beginning of Intake
WORD = 1 << 64
INTAKE = INTAKE_CAPACITY

# Where the transmit ring starts; the receive ring starts at LINK_HEADER.
cdef inline uint64_t link_tx_offset(uint64_t rx_capacity) noexcept nogil:
    return LINK_HEADER + ring_bytes(rx_capacity)

cdef inline uint64_t link_recorder_offset(uint64_t rx_capacity, uint64_t tx_capacity) noexcept nogil:
    return link_tx_offset(rx_capacity) + ring_bytes(tx_capacity)

cdef inline uint64_t link_intake_offset(uint64_t rx_capacity, uint64_t tx_capacity) noexcept nogil:
    return (link_recorder_offset(rx_capacity, tx_capacity) + sizeof(Recorder) + 4095) & ~<uint64_t>4095


def link_bytes(rx_capacity, tx_capacity):
    """Size of a link segment whose rings hold so many bytes each."""
    for capacity in (rx_capacity, tx_capacity):
        if capacity < 4096 or capacity & (capacity - 1):
            raise SegmentError(f"a ring of {capacity} bytes: must be a power of two, at least 4096")
    intake = link_intake_offset(rx_capacity, tx_capacity)
    return page_align(intake + sizeof(Intake) + ring_bytes(INTAKE_CAPACITY))


def record_at(fd, rx_capacity, tx_capacity, position, *, intake=False):
    """(stamp, payload) of the frame that the receive ring (or the intake) of link `fd` has at this position,
    read without mapping it, for who looks at what a dead replica had in its hands. None unless there is a
    whole one. Text that is in the intake no more, as it went straight to its socket, is zeros."""
    reading = link_intake_offset(rx_capacity, tx_capacity)
    ring = reading + sizeof(Intake) if intake else LINK_HEADER
    capacity = INTAKE_CAPACITY if intake else rx_capacity
    start = ring + RING_HEADER
    counters = os.pread(fd, RING_HEADER, ring)
    tail, head = (int.from_bytes(counters[at : at + 8], "little") for at in (0, 64))
    held, at = (tail - head) % WORD, (position - head) % WORD
    offset = position % capacity
    if position % RECORD_ALIGN or held > capacity or at >= held:
        return None
    length, kind, _flags, stamp = RECORD.unpack(os.pread(fd, RECORD.size, start + offset))
    if kind not in (FRAME, OWN_FRAME) or length > MAX_RECORD:
        return None
    if RECORD.size + length > min(held - at, capacity - offset):
        return None
    payload = os.pread(fd, length, start + offset + RECORD.size)
    if intake:
        pending, _offset, conn, header, room = READING.unpack(os.pread(fd, READING.size, reading))
        if pending == position + 1 and conn:
            end = header + room
            payload = payload[:header] + bytes(len(payload[header:end])) + payload[end:]
    return stamp, payload


def recorder_of(fd, rx_capacity, tx_capacity):
    """A copy of the flight recorder of link `fd`: bytes for neat.shm.recorder.recorded."""
    return os.pread(fd, RECORDER_BYTES, link_recorder_offset(rx_capacity, tx_capacity))


def initialise(fd, rx_capacity, tx_capacity):
    """Write the header of a link segment that was just created (all zero: its rings are empty)."""
    segment = Segment(fd, link_bytes(rx_capacity, tx_capacity))
    header = <LinkHeader*><uintptr_t>segment.address
    header.rx_capacity = rx_capacity
    header.tx_capacity = tx_capacity
    header.version = LINK_VERSION
    header.magic = LINK_MAGIC


class Link:
    """A mapped link segment: `rx_address` and `tx_address` are where its rings (RingHeader) start.

    The geometry is the caller's, from its settings; a header that disagrees raises SegmentError.
    """

    def __init__(self, fd, rx_capacity, tx_capacity):
        self.segment = Segment(fd, link_bytes(rx_capacity, tx_capacity))
        header = <LinkHeader*><uintptr_t>self.segment.address
        if header.magic != LINK_MAGIC or header.version != LINK_VERSION:
            raise SegmentError(f"descriptor {fd} is no link segment of version {LINK_VERSION}")
        if header.rx_capacity != rx_capacity or header.tx_capacity != tx_capacity:
            raise SegmentError(
                f"link segment {fd} has rings of {header.rx_capacity} and {header.tx_capacity} bytes "
                f"instead of {rx_capacity} and {tx_capacity}"
            )
        self.rx_capacity = rx_capacity
        self.tx_capacity = tx_capacity
        self.rx_address = self.segment.address + LINK_HEADER
        self.tx_address = self.segment.address + link_tx_offset(rx_capacity)
        self.recorder_address = self.segment.address + link_recorder_offset(rx_capacity, tx_capacity)
        self.intake_address = self.segment.address + link_intake_offset(rx_capacity, tx_capacity)

    def rx_ring(self, *, producer):
        """The receive ring for Python, as the driver (producer) or the replica sees it."""
        return FrameRing(self.segment.view[LINK_HEADER:], self.rx_capacity, producer=producer)

    def tx_ring(self, *, producer):
        """The transmit ring for Python, as the replica (producer) or the driver sees it."""
        return FrameRing(
            self.segment.view[link_tx_offset(self.rx_capacity) :], self.tx_capacity, producer=producer
        )


class LinkReader:
    """A link segment mapped read-only, for who watches both sides. The geometry is the caller's."""

    def __init__(self, fd, rx_capacity, tx_capacity):
        self.segment = Segment(fd, link_bytes(rx_capacity, tx_capacity), writable=False)
        self.rx_capacity = rx_capacity
        self.tx_capacity = tx_capacity

    def rx_waits(self):
        """The consumer's position (its head) in the receive ring while records wait there, or None. A ring
        that makes no sense has none."""
        return waits(self.segment.address + LINK_HEADER, self.rx_capacity)

    def rx_percent(self):
        """How much of the receive ring is full; 0 where it makes no sense."""
        ring = <RingHeader*><uintptr_t>(self.segment.address + LINK_HEADER)
        cdef uint64_t waiting = load64(&ring.tail) - load64(&ring.head)
        return 100.0 * waiting / self.rx_capacity if waiting <= self.rx_capacity else 0.0

    def intake_waits(self):
        """Likewise in the intake: the replica's own position."""
        offset = link_intake_offset(self.rx_capacity, self.tx_capacity) + sizeof(Intake)
        return waits(self.segment.address + offset, INTAKE_CAPACITY)

    def tx_waits(self):
        """Likewise in the transmit ring."""
        return waits(self.segment.address + link_tx_offset(self.rx_capacity), self.tx_capacity)


def waits(address, capacity):
    ring = <RingHeader*><uintptr_t>address
    cdef uint64_t head = load64(&ring.head)
    cdef uint64_t waiting = load64(&ring.tail) - head
    return head if 0 < waiting <= capacity else None
