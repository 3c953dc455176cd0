"""Text that came out of order: intervals over the receive ring, where the bytes already lie beyond
rx_tail."""

from libc.stdint cimport uint32_t
from neat.stack.tcp.types cimport Tcb

# Note start <= x < end, both beyond rcv_nxt. False: too many holes, forget these bytes.
cdef bint ooo_insert(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil
# Text up to `reached` is in order now. Returns how far the stream goes on from there in what was kept.
cdef uint32_t ooo_take(Tcb* tcb, uint32_t reached) noexcept nogil
