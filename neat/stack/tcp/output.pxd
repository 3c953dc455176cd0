"""TCP segments out: what to send, in which frames (RFC 9293 §3.8, RFC 5681, RFC 1122 §4.2.3.4)."""
from libc.stdint cimport uint8_t, uint32_t
from neat.stack.types cimport Stack

# The neighbour that frames to `address` go to answered, or did not. Connections that waited for it go on.
cdef void tcp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil
