"""The frame ring as Python sees it: for tests, tools and components without a hot path. Also the address of a
buffer."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from neat.shm cimport ring as rings
from neat.shm.atomic cimport load32, load64

MAX_RECORD = rings.MAX_RECORD
RING_HEADER = sizeof(rings.RingHeader)
PAD = rings.RECORD_PAD
FRAME = rings.RECORD_FRAME
FLOW_ADD = rings.RECORD_FLOW_ADD
FLOW_DELETE = rings.RECORD_FLOW_DELETE
FLOW_FADES = rings.RECORD_FLOW_FADES
OWN_FRAME = rings.RECORD_OWN_FRAME
FLOW_LOST = rings.RECORD_FLOW_LOST


def ring_bytes(uint64_t capacity):
    """How much of a segment a ring of this capacity takes, header included."""
    return rings.ring_bytes(capacity)


def buffer_address(buffer):
    """Where the memory of a contiguous buffer lies. Caller must keep the buffer alive while the address is
    used."""
    cdef Py_buffer view
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    address = <uintptr_t>view.buf
    PyBuffer_Release(&view)
    return address


cdef class FrameRing:
    """One side of a ring in a writable buffer: `FrameRing(memory, capacity, producer=True)`. ValueError if it
    cannot be attached."""

    cdef rings.Ring ring
    cdef Py_buffer memory
    cdef bint producer, held

    def __cinit__(self, memory, uint64_t capacity, *, bint producer):
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        self.held = True
        self.producer = producer
        if capacity > <uint64_t>self.memory.len or rings.ring_bytes(capacity) > <uint64_t>self.memory.len:
            raise ValueError(f"a ring of {capacity} bytes does not fit into {self.memory.len}")
        if producer:
            status = rings.ring_attach_producer(&self.ring, self.memory.buf, capacity)
        else:
            status = rings.ring_attach_consumer(&self.ring, self.memory.buf, capacity)
        if status < 0:
            raise ValueError("ring geometry or counters make no sense")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.memory)

    cdef int need(self, bint producer) except -1:
        if self.producer != producer:
            raise TypeError("this is the producer's side" if self.producer else "this is the consumer's side")
        return 0

    @property
    def broken(self):
        return bool(self.ring.broken)

    @property
    def counters(self):
        """(published tail, released head, own position), bytes."""
        return load64(&self.ring.shared.tail), load64(&self.ring.shared.head), self.ring.local

    @property
    def sleeping(self):
        return bool(load32(&self.ring.shared.sleeping))

    def push(self, const uint8_t[::1] payload not None, uint16_t type=rings.RECORD_FRAME, uint64_t stamp=0):
        """Commit a record; False when it does not fit. Not visible until publish."""
        self.need(True)
        if payload.shape[0] > rings.MAX_RECORD:
            raise ValueError(f"a record has at most {rings.MAX_RECORD} bytes")
        cdef uint32_t length = <uint32_t>payload.shape[0]
        cdef const uint8_t* start = &payload[0] if length else <const uint8_t*>b""
        return rings.ring_push(&self.ring, start, length, type, stamp) == 0

    def publish(self):
        """True when the consumer's doorbell must be rung."""
        self.need(True)
        return bool(rings.ring_publish(&self.ring))

    def pop(self):
        """(type, stamp, payload) of the next record, or None. Its room is the producer's again after
        release."""
        self.need(False)
        cdef rings.RecordHeader* record = rings.ring_peek(&self.ring)
        if record == NULL:
            return None
        payload = <bytes>rings.record_payload(record)[:record.length]
        rings.ring_advance(&self.ring)
        return record.type, record.stamp, payload

    def release(self):
        self.need(False)
        rings.ring_release(&self.ring)

    def discard(self):
        """Consume and release, unread, all that is published now."""
        self.need(False)
        rings.ring_discard(&self.ring)

    def prepare_sleep(self):
        """True when the caller may block on its doorbell now."""
        self.need(False)
        return bool(rings.ring_prepare_sleep(&self.ring))

    def cancel_sleep(self):
        self.need(False)
        rings.ring_cancel_sleep(&self.ring)
