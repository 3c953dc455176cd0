"""The stack's end of each connection's descriptor: tokens, hang-ups, resets, and memory given back. By
connection index."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from neat.abi.channel cimport neat_addr, neat_sock
from neat.abi.control cimport neat_msg
from neat.replica.process cimport Endpoint, Process
from neat.stack.engine cimport Event

# The entry of `conn`, NULL if there is no such slot.
cdef Endpoint* endpoint_of(Process* p, int32_t conn) noexcept nogil
# Take `fd` as the stack's end of `conn` and watch it. -errno; the caller keeps fd then.
# `later`: not before FRESH_NS, unless it is gone by then.
cdef int endpoint_open(Process* p, int32_t conn, int fd, uint8_t state, bint later) noexcept nogil
# Watch those whose time has come; and when that is for the next one (UINT64_MAX: never).
cdef void endpoints_settle(Process* p) noexcept nogil
cdef uint64_t endpoints_deadline(Process* p) noexcept nogil
cdef void endpoint_drop(Process* p, Endpoint* end) noexcept nogil
# What the engine has to say about a connection. Until it has a descriptor: accept.pyx.
cdef void endpoint_event(Process* p, Event* event) noexcept nogil
# Make the descriptor show what holds, if it does not yet. `error`: why, when it fails to connect.
cdef void endpoint_show(Process* p, int32_t conn, Endpoint* end, neat_sock* sock, int error) noexcept nogil
# What epoll has to say.
cdef void endpoint_hangup(Process* p, uint32_t conn, uint32_t serial, uint32_t events) noexcept nogil
# There is room: make the descriptor writable again.
cdef void endpoint_room(Endpoint* end, neat_sock* sock) noexcept nogil
# What a predecessor may have left half done of passing on an end (HALF, HUNG).
cdef void endpoint_repeat(Process* p, Endpoint* end, neat_sock* sock) noexcept nogil
# "Look at the rings": one token, unless one is on its way.
cdef void send_token(Process* p, neat_sock* sock, int fd) noexcept nogil
# Make a descriptor writable again.
cdef void take_fills(neat_sock* sock, int fd) noexcept nogil
# Leave the accept queue, if it is in one.
cdef void unqueue(Process* p, Endpoint* end) noexcept nogil
# A message about this socket of this replica.
cdef void compose(
    Process* p, neat_msg* message, uint16_t op, uint32_t app, uint32_t sock, uint32_t generation
) noexcept nogil
# Say NEAT_EV_CONNECTING or NEAT_EV_FAILED on a connecting socket's descriptor.
cdef void tell_connecting(Process* p, Endpoint* end, const neat_addr* local) noexcept nogil
cdef void tell_failed(Process* p, int fd, int error) noexcept nogil

# It waits no longer for somebody to claim it: from END_OFFERED to END_CLOSED, if it was there.
cdef void offer_over(Process* p, Endpoint* end) noexcept nogil
cdef void application_gone(Process* p, int32_t conn, Endpoint* end) noexcept nogil
cdef int watch_endpoint(Process* p, uint32_t conn, int fd, uint32_t serial) noexcept nogil
# Its port is free, if it had one that was bound: tell, soon.
cdef void unbind(Process* p, Endpoint* end) noexcept nogil
cdef void unbind_id(Process* p, uint32_t bind_id) noexcept nogil
