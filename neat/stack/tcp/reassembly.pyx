"""Text that came out of order: intervals over the receive ring, beyond rx_tail."""

from libc.stdint cimport uint32_t
from libc.string cimport memmove
from neat.stack.tcp.types cimport OOO_MAX, Interval, Tcb
from neat.wire.seq cimport seq_gt, seq_le, seq_lt, seq_max


cdef bint ooo_insert(Tcb* tcb, uint32_t start, uint32_t end) noexcept nogil:
    """The list stays ascending and disjoint: what touches the new interval melts into it."""
    cdef uint32_t gone
    cdef uint32_t i = 0
    while i < tcb.ooo_count and seq_lt(tcb.ooo[i].end, start):
        i += 1
    cdef uint32_t j = i
    while j < tcb.ooo_count and seq_le(tcb.ooo[j].start, end):
        if seq_lt(tcb.ooo[j].start, start):
            start = tcb.ooo[j].start
        if seq_gt(tcb.ooo[j].end, end):
            end = tcb.ooo[j].end
        j += 1
    if i == j:
        if tcb.ooo_count == OOO_MAX:
            return False
        memmove(&tcb.ooo[i + 1], &tcb.ooo[i], (tcb.ooo_count - i) * sizeof(Interval))
        tcb.ooo_count += 1
    elif j > i + 1:
        gone = j - i - 1
        memmove(&tcb.ooo[i + 1], &tcb.ooo[j], (tcb.ooo_count - j) * sizeof(Interval))
        tcb.ooo_count -= gone
    tcb.ooo[i].start = start
    tcb.ooo[i].end = end
    return True


cdef uint32_t ooo_take(Tcb* tcb, uint32_t reached) noexcept nogil:
    cdef uint32_t i = 0
    while i < tcb.ooo_count and seq_le(tcb.ooo[i].start, reached):
        reached = seq_max(reached, tcb.ooo[i].end)
        i += 1
    if i > 0:
        memmove(&tcb.ooo[0], &tcb.ooo[i], (tcb.ooo_count - i) * sizeof(Interval))
        tcb.ooo_count -= i
    return reached
