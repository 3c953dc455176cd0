# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The frame ring. The contract, and what is shared and what is private, is in ring.pxd: read that first.

Invariants that hold while a ring is not broken, all modulo 2**64:
1. producer: local - remote <= capacity, so what it writes next never overlaps what the consumer still reads;
2. consumer: remote - local <= capacity, and a record that it returns is inside [local, remote), unwrapped;
3. all counters are multiples of RECORD_ALIGN, so a record header never wraps.
"""

import cython
from cython.cimports.libc.stddef import size_t
from cython.cimports.libc.string import memcpy


def ring_attach(ring, memory, capacity):
    """-1: not a power of two, not aligned, or counters that no two honest sides could have left."""
    ring.shared = cython.cast("RingHeader*", memory)
    ring.data = cython.cast("uint8_t*", memory) + cython.sizeof(RingHeader)
    ring.capacity = capacity
    ring.broken = True
    ring.view.header.length = 0
    ring.view.payload = cython.NULL
    if capacity < 2 * RECORD_ALIGN or capacity & (capacity - 1):
        return -1
    if cython.cast(size_t, memory) & (RECORD_ALIGN - 1):
        return -1
    tail = load64(cython.address(ring.shared.tail))
    head = load64(cython.address(ring.shared.head))
    if tail - head > capacity or (tail | head) & (RECORD_ALIGN - 1):
        return -1
    ring.local = tail
    ring.remote = head
    ring.broken = False
    return 0


def ring_attach_producer(ring, memory, capacity):
    if ring_attach(ring, memory, capacity) < 0:
        return -1
    ring.shared.producer_epoch += 1
    return 0


def ring_attach_consumer(ring, memory, capacity):
    if ring_attach(ring, memory, capacity) < 0:
        return -1
    tail = ring.local
    ring.local = ring.remote
    ring.remote = tail
    ring_cancel_sleep(ring)
    return 0


def has_room(ring, need):
    """Whether `need` bytes from local on are free. Reads the shared head only when the cached one says no."""
    if ring.capacity - (ring.local - ring.remote) >= need:
        return True
    head = load64(cython.address(ring.shared.head))
    # It only moves forward, and not beyond what was written.
    if head - ring.remote > ring.local - ring.remote or head & (RECORD_ALIGN - 1):
        ring.broken = True
        return False
    ring.remote = head
    return ring.capacity - (ring.local - head) >= need


def write_header(ring, offset, length, type, stamp):
    record = cython.cast("RecordHeader*", ring.data + offset)
    record.length = length
    record.type = type
    record.flags = 0
    record.stamp = stamp


def ring_reserve(ring, length):
    need = record_span(length)
    if ring.broken or length > MAX_RECORD or need > ring.capacity >> 1:
        return cython.NULL
    offset = ring.local & (ring.capacity - 1)
    to_end = ring.capacity - offset
    if need <= to_end:
        if not has_room(ring, need):
            return cython.NULL
        return ring.data + offset + RECORD_HEADER
    if not has_room(ring, to_end + need):
        return cython.NULL
    write_header(ring, offset, cython.cast("uint32_t", to_end - RECORD_HEADER), RECORD_PAD, 0)
    ring.local += to_end
    return ring.data + RECORD_HEADER


def ring_commit(ring, length, type, stamp):
    write_header(ring, ring.local & (ring.capacity - 1), length, type, stamp)
    ring.local += record_span(length)


def ring_push(ring, payload, length, type, stamp):
    room = ring_reserve(ring, length)
    if room == cython.NULL:
        return -1
    memcpy(room, payload, length)
    ring_commit(ring, length, type, stamp)
    return 0


def ring_publish(ring):
    """Store tail, fence, load flag; the consumer: store flag, fence, load tail. One sees the other."""
    if ring.broken:
        return 0
    store64(cython.address(ring.shared.tail), ring.local)
    fence()
    if peek32(cython.address(ring.shared.sleeping)) == 0:
        return 0
    return exchange32(cython.address(ring.shared.sleeping), 0) != 0


def refresh_tail(ring):
    """Look at the producer's tail; whether there is anything to read."""
    tail = load64(cython.address(ring.shared.tail))
    # It only moves forward, and not further than the ring is large.
    unread = tail - ring.local
    if unread > ring.capacity or unread < ring.remote - ring.local or tail & (RECORD_ALIGN - 1):
        ring.broken = True
        return False
    ring.remote = tail
    return unread != 0


@cython.locals(record="RecordHeader*", offset="uint64_t", span="uint64_t", to_end="uint64_t")
def ring_peek(ring):
    while not ring.broken and (ring.local != ring.remote or refresh_tail(ring)):
        offset = ring.local & (ring.capacity - 1)
        to_end = ring.capacity - offset
        # Copy first, check the copy: the producer could change the original in between. The loads are atomic,
        # as after a plain copy the compiler may read the original once more.
        record = cython.address(ring.view.header)
        original = cython.cast("uint64_t*", ring.data + offset)
        copy = cython.cast("uint64_t*", record)
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
        return cython.NULL
    ring.broken = True
    return cython.NULL


def ring_advance(ring):
    ring.local += record_span(ring.view.header.length)


def ring_release(ring):
    if not ring.broken:
        store64(cython.address(ring.shared.head), ring.local)


def ring_discard(ring):
    if not ring.broken and refresh_tail(ring):
        ring.local = ring.remote
        ring_release(ring)


def ring_prepare_sleep(ring):
    store32(cython.address(ring.shared.sleeping), 1)
    fence()
    if not ring.broken and (ring.local != ring.remote or refresh_tail(ring)):
        ring_cancel_sleep(ring)
        return 0
    return 1


def ring_cancel_sleep(ring):
    store32(cython.address(ring.shared.sleeping), 0)
