"""What both ends do with the options of a SYN (RFC 9293 §3.7.1, RFC 7323 §2.2, §3.2)."""

from libc.stdint cimport uint32_t
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

cdef enum:
    IP_TCP_HEADERS = 40
    LEAST_MSS = 88                  # below this, options and a hostile peer would leave no room for text

# What we offer: MSS, window scale, timestamps. maxseg: TCP_MAXSEG, 0 for none.
cdef void handshake_offer(
    Stack* stack, Tcb* tcb, uint32_t rx_size, uint32_t rcvbuf, uint32_t maxseg
) noexcept nogil
# What the peer's SYN makes of it.
cdef void handshake_settle(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
