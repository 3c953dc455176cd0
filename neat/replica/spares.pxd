"""Pairs that serve one connection after another."""
cimport cython
from libc.stdint cimport int32_t, uint32_t, uint64_t

from neat.replica.counters cimport COUNT_DESCRIPTORS
from neat.replica.posix cimport EPOLL_CTL_DEL, close, is_hung_up, watch
from neat.replica.process cimport END_OPEN, Channel, Endpoint, Process, Spare, gauge
from neat.abi.channel cimport NEAT_OPT_KEEPS, NEAT_SPARE_KEPT, NEAT_SPARES, NEAT_SPARES_OFFSET, neat_sock, neat_spare_place
from neat.shm.atomic cimport load32, load64, replace64

cdef enum:
    SWEEP_NS = 100_000_000          # a process that dies with its spares is rare

# A channel without any.
cdef void spares_open(Channel* channel) noexcept nogil
cdef void spares_close(Process* p, Channel* channel) noexcept nogil
# `end` is over, and its application keeps its own: keep its `fd`, if it is as good as new; else leave it there.
@cython.locals(name=uint64_t)
cdef void spare_keep(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil
# The stack's end of the spare that is called so, now the caller's. -1: there is none.
cdef int32_t spare_take(Process* p, Channel* channel, uint64_t name) noexcept nogil
# Whether process `who` (the upper half of its names) has one more than there are offers on their way that want one.
cdef bint spares_suffice(Channel* channel, uint64_t who) noexcept nogil
# Close those that their process has given up; not more often than SWEEP_NS.
@cython.locals(kept=uint64_t)
cdef void spares_sweep(Process* p, Channel* channel) noexcept nogil

# Parts of the above.
cdef uint64_t* entry_of(Channel* channel, uint64_t name) noexcept nogil
cdef bint is_new(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil
cdef void spare_close(Process* p, Channel* channel, Spare* spare) noexcept nogil
