"""Listening sockets, and what arrives for them (RFC 9293 §3.10.7.1, §3.10.7.2). The backlog is real.

A connection counts against its listener's backlog from its SYN until accept() has taken it.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from neat.abi.channel cimport neat_addr
from neat.stack.packet cimport Packet
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Channel, Stack
from neat.wire.flow cimport FlowKey

cdef int listen_create(Stack* stack) noexcept nogil
cdef int listen_open(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t backlog, uint32_t flags
) noexcept nogil
cdef int listen_backlog(Stack* stack, uint32_t app, uint32_t sock, uint32_t backlog) noexcept nogil
cdef int listen_defer(Stack* stack, uint32_t app, uint32_t sock, uint32_t seconds) noexcept nogil
# Is this ACK, which ends the handshake, not enough for accept()?
cdef bint listen_defers(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
# When such a connection is asked again.
cdef uint64_t listen_deferral(Stack* stack, Tcb* tcb) noexcept nogil
# Go on with the listeners that a predecessor left.
cdef void listen_recover(Stack* stack) noexcept nogil
# resets what waits to be accepted
cdef int listen_close(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil
cdef void listen_detach(Stack* stack, Channel* channel) noexcept nogil
cdef bint port_listens(Stack* stack, uint16_t port) noexcept nogil
# Would a SYN for `key` be answered?
cdef bint listen_has_room(Stack* stack, const FlowKey* key) noexcept nogil
# A segment for no connection, or for TIME-WAIT entry `wait` (else NO_INDEX), whose place a new one takes
# (RFC 6191).
cdef void listen_input(
    Stack* stack, Packet* packet, Segment* seg, const FlowKey* key, uint32_t wait
) noexcept nogil
# The handshake is done: a socket for the connection, with the listener's options.
cdef bint listen_establish(Stack* stack, Tcb* tcb) noexcept nogil
