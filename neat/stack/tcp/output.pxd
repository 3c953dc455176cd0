"""TCP segments out: the fair queue of connections that have something to send, and one frame of one
connection.

A connection is in the queue at most once; what it sends is decided when its turn comes, so ACKs of a burst
merge and what the application wrote meanwhile goes along."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

# Put it into the queue: it may have something to send.
cdef void output_want(Stack* stack, Tcb* tcb) noexcept nogil
cdef void output_forget(Stack* stack, Tcb* tcb) noexcept nogil     # out of all queues
# The next frame of any connection, 0 when none has anything to send.
cdef uint32_t tcp_poll(Stack* stack, uint8_t* buffer) noexcept nogil
# The neighbour that frames to `address` go to answered, or did not. Connections that waited for it go on.
cdef void tcp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil
