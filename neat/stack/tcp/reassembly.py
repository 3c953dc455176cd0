"""Text that came out of order: intervals over the receive ring, beyond rx_tail."""

import cython
from cython.cimports.libc.string import memmove


def ooo_insert(tcb, start, end):
    """The list stays ascending and disjoint: what touches the new interval melts into it."""
    i = 0
    while i < tcb.ooo_count and seq_lt(tcb.ooo[i].end, start):
        i += 1
    j = i
    while j < tcb.ooo_count and seq_le(tcb.ooo[j].start, end):
        if seq_lt(tcb.ooo[j].start, start):
            start = tcb.ooo[j].start
        if seq_gt(tcb.ooo[j].end, end):
            end = tcb.ooo[j].end
        j += 1
    if i == j:
        if tcb.ooo_count == OOO_MAX:
            return False
        memmove(
            cython.address(tcb.ooo[i + 1]),
            cython.address(tcb.ooo[i]),
            (tcb.ooo_count - i) * cython.sizeof(Interval),
        )
        tcb.ooo_count += 1
    elif j > i + 1:
        gone = j - i - 1
        memmove(
            cython.address(tcb.ooo[i + 1]),
            cython.address(tcb.ooo[j]),
            (tcb.ooo_count - j) * cython.sizeof(Interval),
        )
        tcb.ooo_count -= gone
    tcb.ooo[i].start = start
    tcb.ooo[i].end = end
    return True


def ooo_take(tcb, reached):
    i = 0
    while i < tcb.ooo_count and seq_le(tcb.ooo[i].start, reached):
        reached = seq_max(reached, tcb.ooo[i].end)
        i += 1
    if i > 0:
        memmove(
            cython.address(tcb.ooo[0]),
            cython.address(tcb.ooo[i]),
            (tcb.ooo_count - i) * cython.sizeof(Interval),
        )
        tcb.ooo_count -= i
    return reached
