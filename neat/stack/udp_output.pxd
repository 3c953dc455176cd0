"""UDP out: datagrams from the transmit rings of sockets to the wire. Every length that an application wrote
is checked first."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.types cimport Stack

# The next datagram to send, as a record; 0: none.
cdef uint32_t udp_poll(Stack* stack, uint8_t* buffer) noexcept nogil
cdef void udp_put_rest_aside(Stack* stack, uint32_t i) noexcept nogil
cdef void udp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil
