"""The neighbour cache: who on the link has which MAC address (RFC 1122 §2.3.2). The table is in the state
segment.

An entry is made only when something is to be sent to it, never because of what others send; so a flood of
forged ARP can neither grow the table nor push anybody out of it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.stack.types cimport Stack

# At the engine's birth: index what a predecessor left in the table, announce ourselves once (RFC 5227 §2.3).
cdef void neighbour_create(Stack* stack) noexcept nogil
# The MAC address of a host on the link. 0; -EAGAIN: asked for, neighbour_ready tells; -EHOSTUNREACH.
cdef int neighbour_resolve(Stack* stack, uint32_t address, uint8_t* mac) noexcept nogil
# Like neighbour_resolve, but asks nobody and makes no entry.
cdef bint neighbour_known(Stack* stack, uint32_t address, uint8_t* mac) noexcept nogil
# `address` says that it is at `mac`: changes an entry that is there.
cdef void neighbour_learn(Stack* stack, uint32_t address, const uint8_t* mac) noexcept nogil
# A packet from there: whoever talks to us is there. Only looks at the neighbour used last, so it costs
# nothing.
cdef void neighbour_confirm(Stack* stack, uint32_t address, const uint8_t* mac) noexcept nogil
# The next request to send, as a record; 0: none.
cdef uint32_t neighbour_poll(Stack* stack, uint8_t* buffer) noexcept nogil
cdef void neighbour_expire(Stack* stack) noexcept nogil
cdef uint64_t neighbour_next_deadline(Stack* stack) noexcept nogil
