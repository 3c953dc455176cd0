"""Selective acknowledgments: which intervals an ACK reports, in which order."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.state cimport OOO_MAX, SLOT_SACK_OK
from neat.stack.tcp.reassembly cimport interval_end, interval_start
from neat.stack.tcp.segment cimport MAX_SACK_BLOCKS, Outgoing
from neat.stack.tcp.types cimport LATEST, Tcb


cdef void add(Outgoing* out, uint64_t one) noexcept nogil:
    out.sack[2 * out.blocks] = interval_start(one)
    out.sack[2 * out.blocks + 1] = interval_end(one)
    out.blocks += 1


cdef void sack_fill(Tcb* tcb, Outgoing* out) noexcept nogil:
    """RFC 2018 §4: "The first SACK block [...] MUST specify the contiguous block of data containing the
    segment which triggered this ACK", then "the most recently reported SACK blocks". RFC 2883 §4: what came
    twice goes before all."""
    cdef uint32_t i, at
    cdef uint32_t told = 0
    cdef uint32_t most = MAX_SACK_BLOCKS - (1 if out.has_ts else 0)
    if not tcb.slot.flags & SLOT_SACK_OK:
        return
    if tcb.twice:
        add(out, tcb.twice)
        tcb.twice = 0
    if not tcb.ooo_count:
        return
    for i in range(<uint32_t>(LATEST + OOO_MAX)):
        if out.blocks == most:
            return
        at = tcb.latest[i] if i < LATEST else i - LATEST
        if tcb.slot.ooo[at] and not told & 1 << at:
            told |= 1 << at
            add(out, tcb.slot.ooo[at])
