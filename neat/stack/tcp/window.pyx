"""The receive window: what we promise. The right edge, rcv_adv, never moves back."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from neat.shm.atomic cimport load64, peek32, store32
from neat.stack.state cimport SLOT_WSCALE, ConnSlot
from neat.stack.tcp.types cimport Tcb
from neat.wire.seq cimport seq_gt

cdef enum:
    FIRST_SPACE = 1 << 18           # bytes that a peer may send to an application that reads nothing
    # an application that reads all of its space in this time gets twice as much
    GROWTH_NS = 250_000_000

# Before the first window goes out: what the application's limit (0: none) means for a ring of this size.
cdef inline uint32_t window_limit(uint32_t rcvbuf, uint32_t rx_size, uint32_t space) noexcept nogil:
    if rcvbuf == 0:
        return space
    return max(rcvbuf, 2048) if rcvbuf <= rx_size else rx_size


cdef void window_begin(Tcb* tcb, uint32_t rcvbuf, uint32_t rx_size) noexcept nogil:
    tcb.rx_size = rx_size
    tcb.rcv_space = min(<uint32_t>FIRST_SPACE, rx_size)
    tcb.rcv_from = 0
    tcb.rcv_since = 0
    tcb.told_limit = 0
    tcb.rcv_limit = window_limit(rcvbuf, rx_size, tcb.rcv_space)


cdef void window_grow(Tcb* tcb, uint64_t now) noexcept nogil:
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


# Bytes that the right edge could move to, counted from rcv_nxt.
cdef uint32_t window_free(Tcb* tcb, uint64_t now) noexcept nogil:
    if tcb.sock == NULL:
        return tcb.rcv_limit
    cdef uint64_t head = load64(&tcb.sock.rx_head)
    # Nonsense is not believed here; the next command deals with it.
    if head > tcb.rx_head and head <= tcb.slot.rx_tail:
        tcb.rx_head = head
    window_grow(tcb, now)
    # Who waits for more than one byte must get them, before it reads any.
    cdef uint32_t space = tcb.rcv_space if peek32(&tcb.sock.rcvlowat) <= 1 else tcb.rx_size
    tcb.rcv_limit = window_limit(peek32(&tcb.sock.rcvbuf), tcb.rx_size, space)
    cdef uint64_t used = tcb.slot.rx_tail - tcb.rx_head
    if used >= tcb.rcv_limit:
        return 0
    return <uint32_t>(tcb.rcv_limit - used)


cdef uint16_t window_advertise(Tcb* tcb, uint64_t now) noexcept nogil:
    """RFC 9293 §3.8.6.2.2: the edge moves by at least a segment or half the buffer, or not at all."""
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t free = window_free(tcb, now)
    cdef uint32_t edge = tcb.rcv_nxt + free
    cdef uint32_t wanted = min(<uint32_t>slot.rcv_mss, tcb.rcv_limit // 2)
    if tcb.ooo_count and tcb.rcv_nxt == tcb.last_ack_sent and rcv_wnd(tcb) > tcb.rcv_limit // 4:
        # RFC 5681 §2: a duplicate ACK repeats the window, else the sender does not count it.
        edge = slot.rcv_adv
    if seq_gt(edge, slot.rcv_adv) and edge - slot.rcv_adv >= wanted:
        slot.rcv_adv = edge
    cdef uint32_t wnd = slot.rcv_adv - tcb.rcv_nxt
    if not slot.flags & SLOT_WSCALE:
        return <uint16_t>min(wnd, 65535)
    cdef uint32_t field = wnd >> slot.rcv_wscale
    cdef uint32_t rounded = (field + 1) << slot.rcv_wscale
    # What the shift cuts off would pull the edge back: round up instead, if there is room for that.
    if field << slot.rcv_wscale != wnd and rounded <= free:
        field += 1
        slot.rcv_adv = tcb.rcv_nxt + rounded
    return <uint16_t>min(field, 65535)


cdef bint window_worth_update(Tcb* tcb, uint64_t now) noexcept nogil:
    """The client core's rule, too: it doubled by two segments or half the buffer, or it grew by half."""
    cdef uint32_t free = window_free(tcb, now)
    cdef uint32_t now_open = rcv_wnd(tcb)
    if free <= now_open:
        return False
    cdef uint32_t grown = free - now_open
    cdef uint32_t half = tcb.rcv_limit // 2
    cdef uint32_t step = min(2 * <uint32_t>tcb.slot.rcv_mss, half)
    return grown >= half or (free >= 2 * now_open and grown >= step)


cdef void window_publish(Tcb* tcb) noexcept nogil:
    """What the peer knows, and our limit, for the client core, which wakes us by them: exact below 3/4 of the
    buffer.

    Above, only that: an application that keeps up would else find this cache line changed at every turn.
    """
    if tcb.sock == NULL:
        return
    if tcb.rcv_limit != tcb.told_limit:
        tcb.told_limit = tcb.rcv_limit
        store32(&tcb.sock.rcv_limit, tcb.rcv_limit)
    cdef uint32_t told = min(rcv_wnd(tcb), tcb.rcv_limit - tcb.rcv_limit // 4)
    if told != tcb.told_wnd:
        tcb.told_wnd = told
        store32(&tcb.sock.rcv_wnd, told)
