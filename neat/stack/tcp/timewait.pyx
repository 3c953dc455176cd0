"""TIME_WAIT in a compact table of its own."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memset
from neat.shm.atomic cimport store32
from neat.shm.ring cimport RECORD_FLOW_ADD, RECORD_FLOW_DELETE, RECORD_FLOW_FADES
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_TIMESTAMPS, ConnSlot, WaitSlot
from neat.stack.tcp.connection cimport conn_over, flow_record
from neat.stack.tcp.listen cimport listen_has_room
from neat.stack.tcp.lookup cimport (
    key_is_sound, lookup, lookup_insert_wait, lookup_remove, lookup_remove_wait,
)
from neat.stack.tcp.respond cimport respond_rst, respond_wait_ack
from neat.stack.tcp.segment cimport MAX_WSCALE, Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.types cimport (
    MILLISECOND, NEVER, NO_INDEX, PAWS_IDLE_S, SECOND, TW_BIT, Tcb, TcpPrivate, WaitLink,
)
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_le, seq_lt

cdef enum:
    GIVES_WAY_AFTER_MS = 1000       # Linux's tcp_tw_reuse_delay
    UNHEARD_MS = 10                 # what was said so long before a crash has left


cdef int wait_create(Stack* stack) noexcept nogil:
    tcp = &stack.tcp
    tcp.wait_capacity = stack.state.max_waits
    tcp.waits = <WaitSlot*>(<uint8_t*>stack.state + stack.state.waits)
    tcp.wait_links = <WaitLink*>calloc(tcp.wait_capacity, sizeof(WaitLink))
    if tcp.wait_links == NULL:
        return -ENOMEM
    tcp.wait_first = NO_INDEX
    tcp.wait_last = NO_INDEX
    tcp.wait_free = NO_INDEX
    return 0


cdef void append(Stack* stack, uint32_t index) noexcept nogil:
    """To the end of the list, with a whole 2 MSL before it."""
    stack.tcp.waits[index].deadline = stack.now + stack.config.time_wait_ms * MILLISECOND
    link_last(&stack.tcp, index)


cdef void link_last(TcpPrivate* tcp, uint32_t index) noexcept nogil:
    cdef WaitLink* link = &tcp.wait_links[index]
    link.previous = tcp.wait_last
    link.next = NO_INDEX
    if tcp.wait_last == NO_INDEX:
        tcp.wait_first = index
    else:
        tcp.wait_links[tcp.wait_last].next = index
    tcp.wait_last = index


cdef void unlink(TcpPrivate* tcp, uint32_t index) noexcept nogil:
    cdef WaitLink* link = &tcp.wait_links[index]
    if link.previous == NO_INDEX:
        tcp.wait_first = link.next
    else:
        tcp.wait_links[link.previous].next = link.next
    if link.next == NO_INDEX:
        tcp.wait_last = link.previous
    else:
        tcp.wait_links[link.next].previous = link.previous


cdef void remove(Stack* stack, uint32_t index, bint flow_ends) noexcept nogil:
    cdef TcpPrivate* tcp = &stack.tcp
    cdef WaitSlot* wait = &tcp.waits[index]
    cdef uint32_t was = wait.state
    store32(&wait.state, TcpState.FREE)
    lookup_remove_wait(tcp, wait, index)
    unlink(tcp, index)
    if flow_ends:
        flow_record(stack, &wait.key, RECORD_FLOW_DELETE)
    tcp.wait_links[index].next = tcp.wait_free
    tcp.wait_free = index
    count_add(stack, Counter.TCP_TIME_WAITING, -1)
    if was == TcpState.FIN_WAIT_2:
        count_add(stack, Counter.TCP_FIN_WAITING, -1)


cdef uint32_t take(Stack* stack) noexcept nogil:
    """A free entry. The table's untouched part comes last: it costs no memory until it is needed."""
    cdef TcpPrivate* tcp = &stack.tcp
    if tcp.wait_free == NO_INDEX and stack.state.waits_used < tcp.wait_capacity:
        stack.state.waits_used += 1
        return stack.state.waits_used - 1
    if tcp.wait_free == NO_INDEX:
        count(stack, Counter.TCP_TIME_WAIT_RECYCLED)
        remove(stack, tcp.wait_first, True)
    cdef uint32_t index = tcp.wait_free
    tcp.wait_free = tcp.wait_links[index].next
    return index


cdef void wait_enter(Stack* stack, Tcb* tcb, uint32_t state, bint ack) noexcept nogil:
    cdef TcpPrivate* tcp = &stack.tcp
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t index = take(stack)
    cdef WaitSlot* wait = &tcp.waits[index]
    memset(wait, 0, sizeof(WaitSlot))
    wait.key = slot.key
    wait.snd_nxt = tcb.snd_nxt
    wait.rcv_nxt = tcb.rcv_nxt
    wait.rcv_wnd = slot.rcv_adv - tcb.rcv_nxt
    wait.rcv_wscale = slot.rcv_wscale
    wait.timestamps = 1 if slot.flags & SLOT_TIMESTAMPS else 0
    wait.ts_recent = slot.ts_recent
    wait.ts_recent_at = slot.ts_recent_at
    wait.ts_offset = slot.ts_offset
    lookup_remove(tcp, tcb)
    lookup_insert_wait(tcp, wait, index)
    append(stack, index)
    # From here on the entry stands for the connection, whatever its slot says.
    store32(&wait.state, state)
    count_add(stack, Counter.TCP_TIME_WAITING, 1)
    count(stack, Counter.TCP_TIME_WAITS)
    if state == TcpState.TIME_WAIT:
        flow_record(stack, &wait.key, RECORD_FLOW_FADES)
    else:
        count_add(stack, Counter.TCP_FIN_WAITING, 1)
    if ack:
        respond_wait_ack(stack, wait)
    conn_over(stack, tcb, 0, True)


cdef bint is_newer(Stack* stack, WaitSlot* wait, Segment* seg) noexcept nogil:
    """RFC 6191 §2: may this SYN open the connection anew? Not if nobody is there to take it."""
    if seg.flags & (TCP_SYN | TCP_ACK | TCP_FIN) != TCP_SYN:
        return False
    if not listen_has_room(stack, &wait.key):
        return False
    if seg.has_ts and wait.timestamps and seg.tsval != wait.ts_recent:
        return seq_gt(seg.tsval, wait.ts_recent)
    return seq_gt(seg.seq, wait.rcv_nxt)


cdef bint is_old_duplicate(Stack* stack, WaitSlot* wait, Segment* seg) noexcept nogil:
    """PAWS (RFC 7323 §5.3 R1, §5.5)."""
    return (
        seg.has_ts
        and wait.timestamps
        and seq_lt(seg.tsval, wait.ts_recent)
        and stack.now - wait.ts_recent_at < PAWS_IDLE_S * SECOND
    )


cdef bint is_in_window(WaitSlot* wait, Segment* seg) noexcept nogil:
    """Has it text that we promised to take, and do not have yet?"""
    if seq_le(seg.seq, wait.rcv_nxt):
        return seq_gt(seg.seq + seg.text_len, wait.rcv_nxt)
    return seq_lt(seg.seq, wait.rcv_nxt + wait.rcv_wnd)


cdef void answer(Stack* stack, WaitSlot* wait) noexcept nogil:
    """An ACK for what is not acceptable, but never so many that two such ends feed each other."""
    if stack.now >= wait.answer_after:
        wait.answer_after = stack.now + SECOND // 2
        respond_wait_ack(stack, wait)


cdef bint wait_input(Stack* stack, uint32_t index, Packet* packet, Segment* seg) noexcept nogil:
    cdef WaitSlot* wait = &stack.tcp.waits[index]
    if seg.flags & TCP_RST:
        # Deviates from RFC 1337 §3 ("ignore RST segments in TIME-WAIT state"), as Linux does (tcp_rfc1337 =
        # 0): one at RCV.NXT (RFC 5961 §3.2) answers our ACK of a SYN that would open the connection anew. If
        # it were ignored, that SYN would never be answered by anything else.
        count(stack, Counter.TCP_RST_IN)
        if seg.seq == wait.rcv_nxt:
            remove(stack, index, True)
        return False
    if is_old_duplicate(stack, wait, seg):
        count(stack, Counter.TCP_PAWS)
        answer(stack, wait)
        return False
    if wait.state == TcpState.TIME_WAIT and is_newer(stack, wait, seg):
        return True
    if not seg.flags & (TCP_ACK | TCP_SYN):
        count(stack, Counter.TCP_NO_ACK)
        return False
    if wait.state == TcpState.FIN_WAIT_2:
        if seg.text_len and is_in_window(wait, seg):
            # Nobody is left to read it.
            count(stack, Counter.TCP_DATA_AFTER_CLOSE)
            respond_rst(stack, packet, seg)
            remove(stack, index, True)
            return False
        if seg.flags & TCP_FIN and seg.seq + seg.text_len == wait.rcv_nxt:
            wait.rcv_nxt += 1
    if seg.flags & TCP_FIN and seg.seq + seg.len == wait.rcv_nxt:
        if wait.state == TcpState.FIN_WAIT_2:
            # Not where the FIN is counted: a predecessor may have come no further than that.
            store32(&wait.state, TcpState.TIME_WAIT)
            count_add(stack, Counter.TCP_FIN_WAITING, -1)
            flow_record(stack, &wait.key, RECORD_FLOW_FADES)
        # RFC 9293 §3.10.7.4: "Acknowledge it, and restart the 2 MSL timeout."
        if seg.has_ts and wait.timestamps:
            wait.ts_recent = seg.tsval
            wait.ts_recent_at = stack.now
        unlink(&stack.tcp, index)
        append(stack, index)
        respond_wait_ack(stack, wait)
    elif seg.len or seg.seq != wait.rcv_nxt:
        answer(stack, wait)
    return False


cdef bint wait_gives_way(Stack* stack, uint32_t index) noexcept nogil:
    """RFC 6191 §2 for our own SYN, as Linux's tcp_tw_reuse has it: its timestamp is later than all that we
    sent before, so the peer takes it for new; what is left of the old connection on the wire, PAWS
    rejects."""
    cdef WaitSlot* wait = &stack.tcp.waits[index]
    if wait.state != TcpState.TIME_WAIT or not wait.timestamps:
        return False
    cdef uint64_t since = wait.deadline - stack.config.time_wait_ms * MILLISECOND
    return stack.now - since >= GIVES_WAY_AFTER_MS * MILLISECOND


cdef void wait_replace(Stack* stack, uint32_t index) noexcept nogil:
    count(stack, Counter.TCP_TIME_WAIT_REUSED)
    remove(stack, index, False)


cdef struct Due:
    uint64_t deadline
    uint32_t index


cdef int by_deadline(const void* a, const void* b) noexcept nogil:
    one = (<const Due*>a).deadline
    other = (<const Due*>b).deadline
    return (one > other) - (one < other)


cdef bint is_sound(Stack* stack, WaitSlot* wait) noexcept nogil:
    return (
        (wait.state == TcpState.TIME_WAIT or wait.state == TcpState.FIN_WAIT_2)
        and key_is_sound(stack, &wait.key)
        and wait.rcv_wscale <= MAX_WSCALE
        and lookup(&stack.tcp, &wait.key) == NO_INDEX
    )


cdef int wait_recover(Stack* stack) noexcept nogil:
    """The order by deadline is made anew; the lowest free entries come first."""
    cdef TcpPrivate* tcp = &stack.tcp
    cdef WaitSlot* wait
    cdef uint32_t n = 0
    cdef uint32_t k
    cdef uint32_t i = stack.state.waits_used
    cdef Due* due = <Due*>calloc(i + 1, sizeof(Due))
    if due == NULL:
        return -ENOMEM
    while i > 0:
        i -= 1
        wait = &tcp.waits[i]
        if wait.state != TcpState.FREE and is_sound(stack, wait):
            lookup_insert_wait(tcp, wait, i)
            count_add(stack, Counter.TCP_FIN_WAITING, 1 if wait.state == TcpState.FIN_WAIT_2 else 0)
            # The setting may have changed.
            wait.deadline = min(wait.deadline, stack.now + stack.config.time_wait_ms * MILLISECOND)
            due[n].deadline = wait.deadline
            due[n].index = i
            n += 1
            continue
        if wait.state != TcpState.FREE:
            count(stack, Counter.RECOVER_BAD_WAIT)
            store32(&wait.state, TcpState.FREE)
        tcp.wait_links[i].next = tcp.wait_free
        tcp.wait_free = i
    qsort(due, n, sizeof(Due), by_deadline)
    # Those that came in just before the crash: the ACK of their FIN may not have left.
    cdef uint64_t recent = stack.state.suspect.at + stack.config.time_wait_ms * MILLISECOND
    for k in range(n):
        link_last(tcp, due[k].index)
        if due[k].deadline + UNHEARD_MS * MILLISECOND >= recent:
            respond_wait_ack(stack, &tcp.waits[due[k].index])
    free(due)
    count_add(stack, Counter.TCP_TIME_WAITING, n)
    return 0


cdef bint wait_adopt(Stack* stack, const WaitSlot* other) noexcept nogil:
    """The flow is added and fades: as if it had been opened and ended here."""
    cdef TcpPrivate* tcp = &stack.tcp
    cdef WaitSlot its = other[0]
    cdef WaitSlot* wait
    cdef uint32_t index
    if stack.flows.tail - stack.flows.head + 3 > stack.flows.capacity:
        return False
    if its.state != TcpState.TIME_WAIT or not key_is_sound(stack, &its.key) or its.rcv_wscale > MAX_WSCALE:
        return True
    cdef uint32_t there = lookup(tcp, &its.key)
    if there != NO_INDEX and there & TW_BIT == 0:
        return True
    if there == NO_INDEX:
        index = take(stack)
        wait = &tcp.waits[index]
        wait[0] = its
        wait.state = TcpState.FREE
        wait.answer_after = 0
        lookup_insert_wait(tcp, wait, index)
        append(stack, index)
        store32(&wait.state, TcpState.TIME_WAIT)
        count_add(stack, Counter.TCP_TIME_WAITING, 1)
        count(stack, Counter.TCP_TIME_WAITS_ADOPTED)
    flow_record(stack, &its.key, RECORD_FLOW_ADD)
    flow_record(stack, &its.key, RECORD_FLOW_FADES)
    return True


cdef void wait_expire(Stack* stack) noexcept nogil:
    cdef uint32_t index
    cdef TcpPrivate* tcp = &stack.tcp
    while tcp.wait_first != NO_INDEX:
        index = tcp.wait_first
        if tcp.waits[index].deadline > stack.now:
            return
        if tcp.waits[index].state == TcpState.FIN_WAIT_2:
            count(stack, Counter.TCP_FIN_WAIT_TIMEOUT)
        remove(stack, index, True)


cdef uint64_t wait_next_deadline(Stack* stack) noexcept nogil:
    if stack.tcp.wait_first == NO_INDEX:
        return NEVER
    return stack.tcp.waits[stack.tcp.wait_first].deadline
