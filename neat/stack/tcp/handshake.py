"""What both ends do with the options of a SYN."""

import cython
from cython.cimports.libc.stdint import uint8_t, uint16_t, uint32_t


def handshake_offer(stack, tcb, rx_size, rcvbuf, maxseg):
    slot = tcb.slot
    mss = cython.cast(uint32_t, stack.config.mtu) - IP_TCP_HEADERS
    if maxseg >= LEAST_MSS and maxseg < mss:
        mss = maxseg
    slot.rcv_mss = cython.cast(uint16_t, mss)
    slot.snd_mss = cython.cast(uint16_t, mss)
    slot.rcv_wscale = cython.cast(uint8_t, window_shift(rx_size))
    slot.ts_offset = timestamp_offset(stack, cython.address(slot.key))
    slot.flags |= SLOT_TIMESTAMPS | SLOT_WSCALE
    window_begin(tcb, rcvbuf, rx_size)
    tcb.rcv_seg = min(mss, cython.cast(uint32_t, DEFAULT_MSS))


def handshake_settle(stack, tcb, seg):
    slot = tcb.slot
    mss = cython.cast(uint32_t, seg.mss if seg.mss else DEFAULT_MSS)
    slot.snd_mss = cython.cast(
        uint16_t, min(max(mss, cython.cast(uint32_t, LEAST_MSS)), cython.cast(uint32_t, slot.snd_mss))
    )
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
    if seg.sack_ok:
        slot.flags |= SLOT_SACK_OK
