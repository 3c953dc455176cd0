"""The stack's ends of listening and UDP sockets, which every replica has."""

from libc.stdint cimport int32_t, uint32_t
from neat.abi.channel cimport neat_addr
from neat.replica.process cimport Process, SharedEnd
from neat.stack.engine cimport Event

cdef SharedEnd* shared_find(Process* p, uint32_t app, uint32_t sock) noexcept nogil
# A listening socket of `app` under index `sock`; takes fd over when it returns 0. A known bind_id: its
# backlog and defer_s change, and fd stays the caller's (returns 1). -errno.
cdef int listener_add(
    Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t backlog, uint32_t flags,
    uint32_t defer_s, const neat_addr* local, int fd
) noexcept nogil
# A UDP socket; likewise. `announce`: say NEAT_EV_REPLICA on it, as its application does not expect it here
# yet.
cdef int udp_add(
    Process* p, uint32_t app, uint32_t sock, uint32_t bind_id, uint32_t flags, const neat_addr* local,
    int fd, bint announce
) noexcept nogil
cdef void udp_event(Process* p, Event* event) noexcept nogil
# What epoll has to say: the application's end is gone, or there is room.
cdef void shared_ready(Process* p, uint32_t index, uint32_t serial, uint32_t events) noexcept nogil
# In a successor: take up the one at that place, whose channel is there or given up, and see that the engine
# has its part. -errno.
cdef int shared_recover(Process* p, int32_t place) noexcept nogil
