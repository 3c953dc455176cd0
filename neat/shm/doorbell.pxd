"""Doorbells: one non-blocking eventfd for each consumer. Ring it only when the consumer's sleeping flag was set (ring_publish)."""
from libc.stdint cimport uint64_t

cdef extern from "<unistd.h>" nogil:
    ssize_t c_read "read"(int fd, void* buffer, size_t count) noexcept
    ssize_t c_write "write"(int fd, const void* buffer, size_t count) noexcept

# False when the eventfd is gone, or so full that its owner is awake anyway.
cdef inline bint doorbell_ring(int fd) noexcept nogil:
    cdef uint64_t one = 1
    return c_write(fd, &one, sizeof(one)) == sizeof(one)

# Take all rings at once. False when there was none.
cdef inline bint doorbell_clear(int fd) noexcept nogil:
    cdef uint64_t count = 0
    return c_read(fd, &count, sizeof(count)) == sizeof(count)

cdef enum:
    YIELDS = 4                          # empty turns after one that had work, before a loop sleeps
    ALONE_NS = 3_000                    # a turn with sched_yield that was over so soon let nobody else run

# Before it sleeps, a loop yields the core a few times and looks again: whoever else is ready may make work for it, and to find
# that there saves both of them the wake-up. `turns`: empty ones since there was work; `since`: ns since the last yield.
cdef inline bint worth_a_yield(unsigned int turns, uint64_t since) noexcept nogil:
    return turns == 0 or (turns < YIELDS and since >= ALONE_NS)
