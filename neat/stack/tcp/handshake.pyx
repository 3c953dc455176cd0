"""What both ends do with the options of a SYN."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.stack.state cimport SLOT_SACK_OK, SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot
from neat.stack.tcp.isn cimport timestamp_offset
from neat.stack.tcp.segment cimport NO_WSCALE, Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.tcp.window cimport window_begin, window_shift
from neat.stack.types cimport Stack

cdef enum:
    DEFAULT_MSS = 536               # RFC 9293 §3.7.1: "If an MSS Option is not received"


cdef void handshake_offer(
    Stack* stack, Tcb* tcb, uint32_t rx_size, uint32_t rcvbuf, uint32_t maxseg
) noexcept nogil:
    slot = tcb.slot
    mss = <uint32_t>stack.config.mtu - IP_TCP_HEADERS
    if maxseg >= LEAST_MSS and maxseg < mss:
        mss = maxseg
    slot.rcv_mss = <uint16_t>mss
    slot.snd_mss = <uint16_t>mss
    slot.rcv_wscale = <uint8_t>window_shift(rx_size)
    slot.ts_offset = timestamp_offset(stack, &slot.key)
    slot.flags |= SLOT_TIMESTAMPS | SLOT_WSCALE | SLOT_SACK_OK
    window_begin(tcb, rcvbuf, rx_size)
    tcb.rcv_seg = min(mss, <uint32_t>DEFAULT_MSS)


cdef void handshake_settle(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t mss = <uint32_t>(seg.mss if seg.mss else DEFAULT_MSS)
    slot.snd_mss = <uint16_t>min(max(mss, <uint32_t>LEAST_MSS), <uint32_t>slot.snd_mss)
    if seg.wscale == NO_WSCALE:
        slot.flags &= ~SLOT_WSCALE
        slot.rcv_wscale = 0
    else:
        slot.snd_wscale = seg.wscale
    if seg.has_ts:
        slot.ts_recent = seg.tsval
        slot.ts_recent_at = stack.now
    else:
        slot.flags &= ~SLOT_TIMESTAMPS
    if not seg.sack_ok:
        slot.flags &= ~SLOT_SACK_OK
