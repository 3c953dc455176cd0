"""The receive window: what we promise (RFC 9293 §3.8.6, RFC 7323 §2). The right edge, rcv_adv, never moves
back."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from neat.stack.tcp.types cimport Tcb

# The shift we offer for a receive ring of this size.
cdef inline uint32_t window_shift(uint32_t size) noexcept nogil:
    cdef uint32_t shift = 0
    while (<uint32_t>65536 << shift) < size and shift < 14:
        shift += 1
    return shift

cdef inline uint32_t rcv_wnd(Tcb* tcb) noexcept nogil:
    return tcb.slot.rcv_adv - tcb.rcv_nxt

# At birth. `rcvbuf` as above.
cdef void window_begin(Tcb* tcb, uint32_t rcvbuf, uint32_t rx_size) noexcept nogil
# Move the edge if that is worth while, and return the header's window field (scaled).
cdef uint16_t window_advertise(Tcb* tcb, uint64_t now) noexcept nogil
cdef void window_publish(Tcb* tcb) noexcept nogil
# Has the application made so much room that the peer should hear of it now?
cdef bint window_worth_update(Tcb* tcb, uint64_t now) noexcept nogil
