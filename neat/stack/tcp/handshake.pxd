"""What both ends do with the options of a SYN (RFC 9293 §3.7.1, RFC 7323 §2.2, §3.2)."""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.stack.state cimport SLOT_SACK_OK, SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot
from neat.stack.tcp.isn cimport timestamp_offset
from neat.stack.tcp.segment cimport NO_WSCALE, Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.tcp.window cimport window_begin, window_shift
from neat.stack.types cimport Stack

cdef enum:
    DEFAULT_MSS = 536               # RFC 9293 §3.7.1: "If an MSS Option is not received"
    LEAST_MSS = 88                  # below this, options and a hostile peer would leave no room for text
    IP_TCP_HEADERS = 40

# What we offer: MSS, window scale, timestamps. maxseg: TCP_MAXSEG, 0 for none.
cdef void handshake_offer(Stack* stack, Tcb* tcb, uint32_t rx_size, uint32_t rcvbuf, uint32_t maxseg) noexcept nogil
# What the peer's SYN makes of it.
@cython.locals(slot="ConnSlot*", mss=uint32_t)
cdef void handshake_settle(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
