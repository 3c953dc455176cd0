"""The receive window: what we promise. The right edge, rcv_adv, never moves back."""

import cython
from cython.cimports.libc.stdint import uint16_t, uint32_t


def window_begin(tcb, rcvbuf, rx_size):
    tcb.rx_size = rx_size
    tcb.rcv_space = min(cython.cast(uint32_t, FIRST_SPACE), rx_size)
    tcb.rcv_from = 0
    tcb.rcv_since = 0
    tcb.told_limit = 0
    tcb.rcv_limit = window_limit(rcvbuf, rx_size, tcb.rcv_space)


def window_grow(tcb, now):
    """Buffer space for who reads fast, as Linux does it ("dynamic right-sizing", tcp_rcv_space_adjust): who
    stalls holds no more than the first of it."""
    if tcb.rcv_space >= tcb.rx_size:
        return
    if now - tcb.rcv_since > GROWTH_NS:
        tcb.rcv_from = tcb.rx_head
        tcb.rcv_since = now
    elif tcb.rx_head - tcb.rcv_from >= tcb.rcv_space:
        tcb.rcv_space *= 2
        tcb.rcv_from = tcb.rx_head
        tcb.rcv_since = now


def window_free(tcb, now):
    if tcb.sock == cython.NULL:
        return tcb.rcv_limit
    head = load64(cython.address(tcb.sock.rx_head))
    # Nonsense is not believed here; the next command deals with it.
    if head > tcb.rx_head and head <= tcb.slot.rx_tail:
        tcb.rx_head = head
    window_grow(tcb, now)
    # Who waits for more than one byte must get them, before it reads any.
    space = tcb.rcv_space if peek32(cython.address(tcb.sock.rcvlowat)) <= 1 else tcb.rx_size
    tcb.rcv_limit = window_limit(peek32(cython.address(tcb.sock.rcvbuf)), tcb.rx_size, space)
    used = tcb.slot.rx_tail - tcb.rx_head
    if used >= tcb.rcv_limit:
        return 0
    return cython.cast(uint32_t, tcb.rcv_limit - used)


def window_advertise(tcb, now):
    """RFC 9293 §3.8.6.2.2: the edge moves by at least a segment or half the buffer, or not at all."""
    slot = tcb.slot
    free = window_free(tcb, now)
    edge = tcb.rcv_nxt + free
    wanted = min(cython.cast(uint32_t, slot.rcv_mss), tcb.rcv_limit // 2)
    if tcb.ooo_count and tcb.rcv_nxt == tcb.last_ack_sent and rcv_wnd(tcb) > tcb.rcv_limit // 4:
        # RFC 5681 §2: a duplicate ACK repeats the window, else the sender does not count it.
        edge = slot.rcv_adv
    if seq_gt(edge, slot.rcv_adv) and edge - slot.rcv_adv >= wanted:
        slot.rcv_adv = edge
    wnd = slot.rcv_adv - tcb.rcv_nxt
    if not slot.flags & SLOT_WSCALE:
        return cython.cast(uint16_t, min(wnd, 65535))
    field = wnd >> slot.rcv_wscale
    rounded = (field + 1) << slot.rcv_wscale
    # What the shift cuts off would pull the edge back: round up instead, if there is room for that.
    if field << slot.rcv_wscale != wnd and rounded <= free:
        field += 1
        slot.rcv_adv = tcb.rcv_nxt + rounded
    return cython.cast(uint16_t, min(field, 65535))


def window_worth_update(tcb, now):
    """The client core's rule, too: it doubled by two segments or half the buffer, or it grew by half."""
    free = window_free(tcb, now)
    now_open = rcv_wnd(tcb)
    if free <= now_open:
        return False
    grown = free - now_open
    half = tcb.rcv_limit // 2
    step = min(2 * cython.cast(uint32_t, tcb.slot.rcv_mss), half)
    return grown >= half or (free >= 2 * now_open and grown >= step)


def window_publish(tcb):
    """What the peer knows, and our limit, for the client core, which wakes us by them: exact below 3/4 of the
    buffer.

    Above, only that: an application that keeps up would else find this cache line changed at every turn.
    """
    if tcb.sock == cython.NULL:
        return
    if tcb.rcv_limit != tcb.told_limit:
        tcb.told_limit = tcb.rcv_limit
        store32(cython.address(tcb.sock.rcv_limit), tcb.rcv_limit)
    told = min(rcv_wnd(tcb), tcb.rcv_limit - tcb.rcv_limit // 4)
    if told != tcb.told_wnd:
        tcb.told_wnd = told
        store32(cython.address(tcb.sock.rcv_wnd), told)
