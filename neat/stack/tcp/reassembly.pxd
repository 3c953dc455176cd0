"""Text that came out of order: intervals over the receive ring, where the bytes already lie beyond rx_tail."""
cimport cython
from libc.stdint cimport uint32_t
from neat.stack.tcp.types cimport OOO_MAX, Interval, Tcb
from neat.wire.seq cimport seq_gt, seq_le, seq_lt, seq_max

# Note start <= x < end, both beyond rcv_nxt. False: too many holes, forget these bytes.
@cython.locals(i=uint32_t, j=uint32_t, k=uint32_t, gone=uint32_t)
cdef bint ooo_insert(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil
# Text up to `reached` is in order now. Returns how far the stream goes on from there in what was kept.
@cython.locals(i=uint32_t, k=uint32_t)
cdef uint32_t ooo_take(Tcb* tcb, uint32_t reached) noexcept nogil
