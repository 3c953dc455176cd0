"""Pairs that serve one connection after another."""
cimport cython
from libc.stdint cimport int32_t, uint64_t

from neat.replica.counters cimport COUNT_DESCRIPTORS
from neat.replica.posix cimport EPOLL_CTL_DEL, close, watch
from neat.replica.process cimport END_OPEN, MAX_SPARES, Channel, Endpoint, Process, Spare, gauge
from neat.shim.channel cimport NEAT_OPT_KEEPS, neat_sock
from neat.shm.atomic cimport load32, load64

# `end` is over, and its application keeps its own: keep its `fd`, if it is as good as new; else leave it there.
@cython.locals(name=uint64_t)
cdef void spare_keep(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil
# The one that process `who` (the upper half of its names) kept last. False: there is none. Its `fd` is the caller's.
@cython.locals(i=int32_t)
cdef bint spare_take(Channel* channel, uint64_t who, Spare* spare) noexcept nogil
cdef void spares_close(Process* p, Channel* channel) noexcept nogil

@cython.locals(removed=Spare, i=int32_t)
cdef Spare spare_remove(Channel* channel, int32_t at) noexcept nogil
