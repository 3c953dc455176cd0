"""The frame ring. The contract, and what is shared and what is private, is in ring.pxd: read that first.

Invariants that hold while a ring is not broken, all modulo 2**64:
1. producer: local - remote <= capacity, so what it writes next never overlaps what the consumer still reads;
2. consumer: remote - local <= capacity, and a record that it returns is inside [local, remote), unwrapped;
3. all counters are multiples of RECORD_ALIGN, so a record header never wraps.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.shm.atomic cimport exchange32, fence, load64, peek32, peek64, store32, store64

# Bytes that a record with a payload of `length` takes in the ring.
cdef inline uint64_t record_span(uint64_t length) noexcept nogil:
    return (length + RECORD_HEADER + RECORD_ALIGN - 1) & ~<uint64_t>(RECORD_ALIGN - 1)


cdef int ring_attach(Ring* ring, void* memory, uint64_t capacity) noexcept nogil:
    """-1: not a power of two, not aligned, or counters that no two honest sides could have left."""
    ring.shared = <RingHeader*>memory
    ring.data = <uint8_t*>memory + sizeof(RingHeader)
    ring.capacity = capacity
    ring.broken = True
    ring.view.header.length = 0
    ring.view.payload = NULL
    if capacity < 2 * RECORD_ALIGN or capacity & (capacity - 1):
        return -1
    if <size_t>memory & (RECORD_ALIGN - 1):
        return -1
    tail = load64(&ring.shared.tail)
    head = load64(&ring.shared.head)
    if tail - head > capacity or (tail | head) & (RECORD_ALIGN - 1):
        return -1
    ring.local = tail
    ring.remote = head
    ring.broken = False
    return 0


cdef int ring_attach_producer(Ring* ring, void* memory, uint64_t capacity) noexcept nogil:
    if ring_attach(ring, memory, capacity) < 0:
        return -1
    ring.shared.producer_epoch += 1
    return 0


cdef int ring_attach_consumer(Ring* ring, void* memory, uint64_t capacity) noexcept nogil:
    if ring_attach(ring, memory, capacity) < 0:
        return -1
    tail = ring.local
    ring.local = ring.remote
    ring.remote = tail
    ring_cancel_sleep(ring)
    return 0


cdef bint has_room(Ring* ring, uint64_t need) noexcept nogil:
    """Whether `need` bytes from local on are free. Reads the shared head only when the cached one says no."""
    if ring.capacity - (ring.local - ring.remote) >= need:
        return True
    head = load64(&ring.shared.head)
    # It only moves forward, and not beyond what was written.
    if head - ring.remote > ring.local - ring.remote or head & (RECORD_ALIGN - 1):
        ring.broken = True
        return False
    ring.remote = head
    return ring.capacity - (ring.local - head) >= need


cdef void write_header(
    Ring* ring, uint64_t offset, uint32_t length, uint16_t type, uint64_t stamp
) noexcept nogil:
    record = <RecordHeader*>(ring.data + offset)
    record.length = length
    record.type = type
    record.flags = 0
    record.stamp = stamp


cdef uint8_t* ring_reserve(Ring* ring, uint32_t length) noexcept nogil:
    need = record_span(length)
    if ring.broken or length > MAX_RECORD or need > ring.capacity >> 1:
        return NULL
    offset = ring.local & (ring.capacity - 1)
    to_end = ring.capacity - offset
    if need <= to_end:
        if not has_room(ring, need):
            return NULL
        return ring.data + offset + RECORD_HEADER
    if not has_room(ring, to_end + need):
        return NULL
    write_header(ring, offset, <uint32_t>(to_end - RECORD_HEADER), RECORD_PAD, 0)
    ring.local += to_end
    return ring.data + RECORD_HEADER


cdef void ring_commit(Ring* ring, uint32_t length, uint16_t type, uint64_t stamp) noexcept nogil:
    write_header(ring, ring.local & (ring.capacity - 1), length, type, stamp)
    ring.local += record_span(length)


cdef int ring_push(
    Ring* ring, const uint8_t* payload, uint32_t length, uint16_t type, uint64_t stamp
) noexcept nogil:
    room = ring_reserve(ring, length)
    if room == NULL:
        return -1
    memcpy(room, payload, length)
    ring_commit(ring, length, type, stamp)
    return 0


cdef int ring_publish(Ring* ring) noexcept nogil:
    """Store tail, fence, load flag; the consumer: store flag, fence, load tail. One sees the other."""
    if ring.broken:
        return 0
    store64(&ring.shared.tail, ring.local)
    fence()
    if peek32(&ring.shared.sleeping) == 0:
        return 0
    return exchange32(&ring.shared.sleeping, 0) != 0


cdef bint refresh_tail(Ring* ring) noexcept nogil:
    """Look at the producer's tail; whether there is anything to read."""
    tail = load64(&ring.shared.tail)
    # It only moves forward, and not further than the ring is large.
    unread = tail - ring.local
    if unread > ring.capacity or unread < ring.remote - ring.local or tail & (RECORD_ALIGN - 1):
        ring.broken = True
        return False
    ring.remote = tail
    return unread != 0


cdef RecordHeader* ring_peek(Ring* ring) noexcept nogil:
    cdef RecordHeader* record
    cdef uint64_t offset, span, to_end
    while not ring.broken and (ring.local != ring.remote or refresh_tail(ring)):
        offset = ring.local & (ring.capacity - 1)
        to_end = ring.capacity - offset
        # Copy first, check the copy: the producer could change the original in between. The loads are atomic,
        # as after a plain copy the compiler may read the original once more.
        record = &ring.view.header
        original = <uint64_t*>(ring.data + offset)
        copy = <uint64_t*>record
        copy[0] = peek64(original)
        copy[1] = peek64(original + 1)
        span = record_span(record.length)
        if span > ring.remote - ring.local or span > to_end:
            break
        if record.type == RECORD_PAD:
            if span != to_end:
                break
            ring.local += span
            continue
        if record.length > MAX_RECORD:
            break
        ring.view.payload = ring.data + offset + RECORD_HEADER
        return record
    else:
        return NULL
    ring.broken = True
    return NULL


cdef void ring_advance(Ring* ring) noexcept nogil:
    ring.local += record_span(ring.view.header.length)


cdef void ring_release(Ring* ring) noexcept nogil:
    if not ring.broken:
        store64(&ring.shared.head, ring.local)


cdef void ring_discard(Ring* ring) noexcept nogil:
    if not ring.broken and refresh_tail(ring):
        ring.local = ring.remote
        ring_release(ring)


cdef void ring_resume(Ring* ring, uint64_t position) noexcept nogil:
    if position - ring.local <= ring.remote - ring.local and position & (RECORD_ALIGN - 1) == 0:
        ring.local = position


cdef int ring_prepare_sleep(Ring* ring) noexcept nogil:
    store32(&ring.shared.sleeping, 1)
    fence()
    if not ring.broken and (ring.local != ring.remote or refresh_tail(ring)):
        ring_cancel_sleep(ring)
        return 0
    return 1


cdef void ring_cancel_sleep(Ring* ring) noexcept nogil:
    store32(&ring.shared.sleeping, 0)
