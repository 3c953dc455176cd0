"""The frame ring: single producer, single consumer, bytes, power of two (ARCHITECTURE.md, "Memory").

A ring lives in a shared segment as one RingHeader, then `capacity` bytes of records. A record is a
RecordHeader, then `length` bytes (for a frame: 10 bytes of virtio-net header, then the Ethernet frame),
padded to RECORD_ALIGN. Records are contiguous: one that would wrap is preceded by a PAD record that fills the
end. Head and tail are free-running 64-bit byte counters.

Each side holds a Ring: its private view, with its own cached copy of the other's counter and its own idea of
geometry. Nothing that the other side wrote is used before it is checked; a violation sets `broken`, and from
then on the ring reads as empty and full: it ends that channel, never the process."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RECORD_ALIGN = 64
    RECORD_HEADER = 16
    MAX_RECORD = 65792              # payload bytes: 10 + 14 + 4 + 65535, rounded up to RECORD_ALIGN
    # payload that a side moves before it tells the other side and goes on to its other work
    BURST_BYTES = 65536

cdef enum RecordType:
    RECORD_PAD = 0                  # fills the end of the ring, skipped by the consumer
    RECORD_FRAME = 1                # virtio-net header (10 bytes) + Ethernet frame
    RECORD_FLOW_ADD = 2             # replica to driver: a FlowKey that this replica serves from now on
    RECORD_FLOW_DELETE = 3          # replica to driver: a FlowKey that is gone
    RECORD_FLOW_FADES = 5           # replica to driver: a FlowKey that is in TIME-WAIT
    # driver to replica: a frame that a replica sent to the stack's own address
    RECORD_OWN_FRAME = 4
    # driver to replica: a FlowKey of a connection that its replica has lost
    RECORD_FLOW_LOST = 6

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

# private: a checked copy of a record's header, which the other side cannot change any more
cdef struct RecordView:
    RecordHeader header
    uint8_t* payload                # in the ring

cdef struct Ring:                   # private to one side; never in shared memory
    RingHeader* shared
    uint8_t* data
    uint64_t capacity               # bytes, power of two
    # own counter: tail of the producer (unpublished included), head of the consumer
    uint64_t local
    uint64_t remote                 # last valid value seen of the other's counter
    bint broken                     # the other side broke the contract
    RecordView view                 # consumer: the record that ring_peek returned

# Where a ring starts in its segment, and how large it is there (header included).
cdef inline uint64_t ring_bytes(uint64_t capacity) noexcept nogil:
    return sizeof(RingHeader) + capacity

# Attach to a ring as its producer or consumer, going on from the published counters. -1 if they make no
# sense.
# A producer rings the doorbell once after it has attached: its predecessor may have died between publish and
# ring.
# A consumer sees again what its predecessor did not release.
cdef int ring_attach_producer(Ring* ring, void* memory, uint64_t capacity) noexcept nogil
cdef int ring_attach_consumer(Ring* ring, void* memory, uint64_t capacity) noexcept nogil

# Producer. reserve: room for a payload of up to `length` contiguous bytes, NULL when the ring is full or
# broken (or can never hold it: a record takes at most half of the capacity, so that it always fits beside a
# PAD).
# commit: turn the reserved bytes into a record of `length` (may be less than reserved); not visible until
# publish.
# push: reserve, copy, commit. 0, or -1 where reserve says NULL.
cdef uint8_t* ring_reserve(Ring* ring, uint32_t length) noexcept nogil
cdef void ring_commit(Ring* ring, uint32_t length, uint16_t type, uint64_t stamp) noexcept nogil
cdef int ring_push(
    Ring* ring, const uint8_t* payload, uint32_t length, uint16_t type, uint64_t stamp
) noexcept nogil
# publish: make committed records visible. Returns 1 if the consumer sleeps and its doorbell must be rung (the
# flag is cleared, so that a batch rings once).
cdef int ring_publish(Ring* ring) noexcept nogil

# Consumer. peek: the next record (PADs skipped), NULL when empty or broken. What it points to is the ring's
# private copy of the header, valid until the next ring_peek; the payload (record_payload) is valid until
# ring_release.
# advance: consume it locally; release: give the room back to the producer, once a batch.
cdef RecordHeader* ring_peek(Ring* ring) noexcept nogil
cdef void ring_advance(Ring* ring) noexcept nogil
cdef void ring_release(Ring* ring) noexcept nogil
# discard: consume and release all that is published now, unread (a successor that wants nothing of what its
# predecessor left).
cdef void ring_discard(Ring* ring) noexcept nogil
# resume: right after attaching, go on at a position that lies between the published counters; what is before
# it was consumed, though not released.
cdef void ring_resume(Ring* ring, uint64_t position) noexcept nogil
# The consumer's way to sleep: set the flag, fence, look once more. Returns 1 if it may block (the ring is
# empty); otherwise the flag is clear again. Spurious rings happen; lost ones do not.
cdef int ring_prepare_sleep(Ring* ring) noexcept nogil
cdef void ring_cancel_sleep(Ring* ring) noexcept nogil

# Of a record that ring_peek returned.
cdef inline uint8_t* record_payload(RecordHeader* record) noexcept nogil:
    return (<RecordView*>record).payload
