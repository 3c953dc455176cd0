"""Text that came out of order: intervals over the receive ring, where the bytes already lie beyond rx_tail.

They stand in the slot as a set without order; each changes by one store, so that a successor finds no half of
one: after any prefix of the stores the set covers bytes that are in the ring, perhaps some twice."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.tcp.types cimport Tcb

cdef inline uint64_t interval(uint32_t start, uint32_t end) noexcept nogil:
    return start | <uint64_t>end << 32

cdef inline uint32_t interval_start(uint64_t interval) noexcept nogil:
    return <uint32_t>interval

cdef inline uint32_t interval_end(uint64_t interval) noexcept nogil:
    return <uint32_t>(interval >> 32)

# Note start <= x < end, both beyond rcv_nxt; their bytes are in the ring. False: too many holes, forget them.
cdef bint ooo_insert(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil
# Text in [start, end), if there is such, has come again: the next ACK says so (RFC 2883).
cdef void ooo_twice(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil
# How far the stream goes on in what was kept, when text up to `reached` is in order.
cdef uint32_t ooo_reach(Tcb* tcb, uint32_t reached) noexcept nogil
# Forget what is in order now. After the store of rx_tail, which has it from then on.
cdef void ooo_drop(Tcb* tcb) noexcept nogil
# The end of the last interval, rcv_nxt without any.
cdef uint32_t ooo_end(Tcb* tcb) noexcept nogil
# Of a slot that a predecessor left: intervals that are not between rcv_nxt and rcv_adv are dropped, the
# others counted.
cdef void ooo_resume(Tcb* tcb) noexcept nogil
