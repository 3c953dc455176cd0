"""Pairs that serve one connection after another."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from neat.abi.channel cimport neat_sock
from neat.replica.process cimport Channel, Endpoint, Process

# A channel without any.
cdef void spares_open(Channel* channel) noexcept nogil
cdef void spares_close(Process* p, Channel* channel) noexcept nogil
# `end` is over, and its application keeps its own: keep its `fd`, if it is as good as new; else leave it
# there.
cdef void spare_keep(Process* p, Channel* channel, Endpoint* end, neat_sock* lines) noexcept nogil
# In a successor, of an endpoint whose connection is over: its predecessor may have been at that.
cdef void spare_keep_again(Process* p, Channel* channel, Endpoint* end) noexcept nogil
# The stack's end of the spare that is called so, -1: there is none; and give it up: a connection has it
# (`taken`), or nobody can.
cdef int32_t spare_find(Channel* channel, uint64_t name) noexcept nogil
cdef void spare_take(Process* p, Channel* channel, uint64_t name, bint taken) noexcept nogil
# In a successor, before anything is done about them: they are in its counter from then on.
cdef void spares_count(Process* p, Channel* channel) noexcept nogil
# In a successor, when it is known whose each descriptor is: what a predecessor may have left half done.
cdef void spares_recover(Process* p, Channel* channel) noexcept nogil
# The process whose cord had that number has died.
cdef void spares_forget(Process* p, Channel* channel, uint32_t number) noexcept nogil
