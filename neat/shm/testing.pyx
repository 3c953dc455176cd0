"""Both sides of a ring in compiled loops, as fast as they go: what meets a race that Python is too slow
for."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from neat.shm cimport doorbell, idle as idling
from neat.shm.atomic cimport peek64
from neat.shm.idle cimport Idle, idle_begin, idle_worked, idle_yields
from neat.shm.ring cimport (
    RECORD_FRAME, RecordHeader, Ring, record_payload, ring_advance, ring_attach_consumer,
    ring_attach_producer, ring_commit, ring_peek, ring_prepare_sleep, ring_publish, ring_release,
    ring_reserve,
)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)
    const short POLLIN

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from * nogil:
    """
    #define neat_relax() __asm__ __volatile__("" ::: "memory")
    """
    void relax "neat_relax"() noexcept

ALONE_NS = idling.ALONE_NS
YIELDS = idling.YIELDS


cdef uint64_t clock() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


def produce(uintptr_t address, uint64_t capacity, uint64_t count, int bell, uint32_t length):
    """Push `count` records of 8 to 2048 bytes that begin with their number, each rung for at once and
    awaited.

    As long as the consumer releases before it sleeps, a wake-up that is lost stops both sides.
    """
    cdef Ring ring
    cdef uint8_t* room
    cdef uint64_t number = 0
    cdef uint32_t spins
    if ring_attach_producer(&ring, <void*>address, capacity) < 0 or not 8 <= length <= 2048:
        raise ValueError("no such ring, or no such length")
    with nogil:
        while number < count and not ring.broken:
            room = ring_reserve(&ring, length)
            if room == NULL:
                continue
            (<uint64_t*>room)[0] = number
            ring_commit(&ring, length, RECORD_FRAME, 0)
            if ring_publish(&ring):
                doorbell.doorbell_ring(bell)
            number += 1
            spins = 0
            while peek64(&ring.shared.head) != ring.local:
                relax()
                spins += 1
                if spins & 0xFFF == 0:
                    sched_yield()
            # Pauses of many lengths, so that it meets the consumer at every point of its way to sleep.
            for _pause in range(((number * <uint64_t>2654435761) >> 16) & <uint64_t>0x7F):
                relax()
    return bool(not ring.broken)


def consume(uintptr_t address, uint64_t capacity, uint64_t count, int bell, int timeout_ms):
    """Take `count` records, sleeping whenever there is none. (records in order, sleeps); stops when nothing
    wakes it."""
    cdef Ring ring
    cdef RecordHeader* record
    cdef uint64_t number = 0, sleeps = 0
    cdef pollfd waiting
    waiting.fd = bell
    waiting.events = POLLIN
    if ring_attach_consumer(&ring, <void*>address, capacity) < 0:
        raise ValueError("no such ring")
    with nogil:
        while number < count and not ring.broken:
            record = ring_peek(&ring)
            if record != NULL:
                if record.length < 8 or (<uint64_t*>record_payload(record))[0] != number:
                    break
                ring_advance(&ring)
                number += 1
                continue
            ring_release(&ring)
            if ring_prepare_sleep(&ring):
                sleeps += 1
                if poll(&waiting, 1, timeout_ms) <= 0:
                    break
                doorbell.doorbell_clear(bell)
        ring_release(&ring)
    return number, sleeps


def push_pop(uintptr_t address, uint64_t capacity, uint64_t batches, uint32_t batch, uint32_t length):
    """Nanoseconds for one record of `length` bytes to be reserved, committed, peeked and advanced over, in
    batches."""
    cdef Ring producer, consumer
    cdef uint64_t _batch, start, done = 0
    cdef uint32_t _record
    if ring_attach_producer(&producer, <void*>address, capacity) < 0:
        raise ValueError("no such ring")
    if ring_attach_consumer(&consumer, <void*>address, capacity) < 0:
        raise ValueError("no such ring")
    with nogil:
        start = clock()
        for _batch in range(batches):
            for _record in range(batch):
                if ring_reserve(&producer, length) != NULL:
                    ring_commit(&producer, length, RECORD_FRAME, 0)
            ring_publish(&producer)
            while ring_peek(&consumer) != NULL:
                ring_advance(&consumer)
                done += 1
            ring_release(&consumer)
        start = clock() - start
    return <double>start / <double>done


cdef class IdleLoop:
    """A loop's way to sleep (idle.pxd), with a clock of the caller's."""

    cdef Idle idle

    def __init__(self, uint64_t spin):
        idle_begin(&self.idle, spin)

    def worked(self, uint64_t now):
        idle_worked(&self.idle, now)

    def yields(self, uint64_t now):
        return bool(idle_yields(&self.idle, now))
