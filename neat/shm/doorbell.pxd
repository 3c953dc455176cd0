"""Doorbells: one non-blocking eventfd for each consumer. Ring it only when the consumer's sleeping flag was
set (ring_publish)."""

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
