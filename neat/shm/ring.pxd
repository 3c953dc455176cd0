"""The frame ring: single producer, single consumer, bytes, power of two (design §4).

A ring lives in a shared segment as one RingHeader, then `capacity` bytes of records. A record is a
RecordHeader, then `length` bytes (for a frame: 10 bytes of virtio-net header, then the Ethernet frame), padded to
RECORD_ALIGN. Records are contiguous: one that would wrap is preceded by a PAD record that fills the end.
Head and tail are free-running 64-bit byte counters.

Each side holds a Ring: its private view, with its own cached copy of the other's counter and its own idea of geometry.
Nothing that the other side wrote is used before it is checked; a violation sets `broken`, and from then on the ring
reads as empty and full: it ends that channel, never the process.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RECORD_ALIGN = 64
    RECORD_HEADER = 16
    MAX_RECORD = 65792              # payload bytes: 10 + 14 + 4 + 65535, rounded up to RECORD_ALIGN

cdef enum RecordType:
    RECORD_PAD = 0                  # fills the end of the ring, skipped by the consumer
    RECORD_FRAME = 1                # virtio-net header (10 bytes) + Ethernet frame
    RECORD_FLOW_ADD = 2             # replica to driver: a FlowKey that this replica serves from now on
    RECORD_FLOW_DELETE = 3          # replica to driver: a FlowKey that is gone

cdef struct RingHeader:             # 256 bytes, 64-byte aligned, zeroed at birth
    uint64_t tail                   # producer writes: bytes ever published
    uint32_t producer_epoch         # producer's incarnation, for diagnosis
    uint8_t _pad0[52]
    uint64_t head                   # consumer writes: bytes ever consumed
    uint32_t sleeping               # consumer writes: 1 while it is about to block (the doorbell flag)
    uint8_t _pad1[52]
    uint8_t _reserved[128]

cdef struct RecordHeader:           # 16 bytes
    uint32_t length                 # payload bytes that follow, without padding
    uint16_t type                   # a RecordType
    uint16_t flags                  # zero for now
    uint64_t stamp                  # CLOCK_MONOTONIC ns when the driver took the frame; 0 if unknown

cdef struct Ring:                   # private to one side; never in shared memory
    RingHeader* shared
    uint8_t* data
    uint64_t capacity               # bytes, power of two
    uint64_t local                  # own counter: tail of the producer (unpublished included), head of the consumer
    uint64_t remote                 # last valid value seen of the other's counter
    bint broken                     # the other side broke the contract

# Where a ring starts in its segment, and how large it is there (header included).
cdef inline uint64_t ring_bytes(uint64_t capacity) noexcept nogil:
    return sizeof(RingHeader) + capacity

# Attach to a ring as its producer or consumer, going on from the published counters. -1 if they make no sense.
cdef int ring_attach_producer(Ring* ring, void* memory, uint64_t capacity) noexcept nogil
cdef int ring_attach_consumer(Ring* ring, void* memory, uint64_t capacity) noexcept nogil

# Producer. reserve: room for a payload of up to `length` contiguous bytes, NULL when the ring is full or broken.
# commit: turn the reserved bytes into a record of `length` (may be less than reserved); not visible until publish.
cdef uint8_t* ring_reserve(Ring* ring, uint32_t length) noexcept nogil
cdef void ring_commit(Ring* ring, uint32_t length, uint16_t type, uint64_t stamp) noexcept nogil
cdef int ring_push(Ring* ring, const uint8_t* payload, uint32_t length, uint16_t type, uint64_t stamp) noexcept nogil
# publish: make committed records visible. Returns 1 if the consumer sleeps and its doorbell must be rung (the flag is
# cleared, so that a batch rings once).
cdef int ring_publish(Ring* ring) noexcept nogil

# Consumer. peek: the next record (PADs skipped), NULL when empty or broken; valid until ring_release.
# advance: consume it locally; release: give the room back to the producer, once a batch.
cdef RecordHeader* ring_peek(Ring* ring) noexcept nogil
cdef void ring_advance(Ring* ring) noexcept nogil
cdef void ring_release(Ring* ring) noexcept nogil
# The consumer's way to sleep: set the flag, fence, look once more. Returns 1 if it may block (the ring is empty).
cdef int ring_prepare_sleep(Ring* ring) noexcept nogil
cdef void ring_cancel_sleep(Ring* ring) noexcept nogil

cdef inline uint8_t* record_payload(RecordHeader* record) noexcept nogil:
    return <uint8_t*>record + RECORD_HEADER
