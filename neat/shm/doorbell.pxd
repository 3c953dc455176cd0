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

cdef enum:
    # times that others may have used the core since there was work, before a loop sleeps
    YIELDS = 3
    ALONE_NS = 3_000                    # a turn with sched_yield that was over so soon let nobody else run

# Before it sleeps, a loop yields the core and looks again. Alone on its core it does so for `spin` ns: nobody
# of its scheduling group wants the core, and to be awake saves the next one who needs it a wake-up. Where
# others run meanwhile it looks only a few times: who sleeps can be woken on a core that is idle. `shared`:
# yields since there was work that let others run; `since`: ns since the last yield; `idle`: ns since there
# was work.
cdef inline bint worth_a_yield(
    unsigned int shared, uint64_t since, uint64_t idle, uint64_t spin
) noexcept nogil:
    return shared < YIELDS and (since >= ALONE_NS or idle < spin)
