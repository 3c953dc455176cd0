"""Active opens: connect(), and SYN_SENT (RFC 9293 §3.10.1, §3.10.7.3)."""

from libc.stdint cimport int32_t, uint32_t
from neat.abi.channel cimport neat_addr
from neat.stack.config cimport ConnectWishes
from neat.stack.packet cimport Packet
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

# Index of the connection, or a negative errno.
cdef int32_t connect_open(
    Stack* stack, uint32_t app, const neat_addr* local, const neat_addr* remote, const ConnectWishes* wishes
) noexcept nogil
# First ACK, second RST, fourth SYN. False: the connection is gone.
cdef bint synsent_input(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil
