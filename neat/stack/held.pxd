"""What an IP component has in its hands: where a record goes, and packets of transport components that wait
for their neighbour. Nothing of it is used in a whole engine."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from neat.stack.types cimport Stack

# Nothing is made unless the engine is an IP component. 0 or -ENOMEM.
cdef int held_create(Stack* stack) noexcept nogil
cdef void held_destroy(Stack* stack) noexcept nogil
# The record in hand is one for the component of this protocol. False: there is none.
cdef bint hand_up(Stack* stack, uint8_t protocol) noexcept nogil
# A packet of the component of that protocol could not leave: for now (-EAGAIN), or with that error.
cdef void held_keep(
    Stack* stack, const uint8_t* record, uint32_t length, uint8_t protocol, uint32_t hop, int32_t error
) noexcept nogil
# Whoever waits for this neighbour may leave; mac NULL: it did not answer.
cdef void held_neighbour_ready(Stack* stack, const uint8_t* address, const uint8_t* mac) noexcept nogil
# The next one that may, while stack.ip.ready. Its length.
cdef uint32_t held_poll(Stack* stack, uint8_t* buffer) noexcept nogil
