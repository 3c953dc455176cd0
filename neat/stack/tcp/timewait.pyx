"""TIME_WAIT in a compact table of its own."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memset
from neat.shm.ring cimport RECORD_FLOW_DELETE, RECORD_FLOW_FADES
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_TIMESTAMPS, ConnSlot
from neat.stack.tcp.connection cimport conn_over, flow_record
from neat.stack.tcp.listen cimport listen_has_room
from neat.stack.tcp.lookup cimport lookup_insert_wait, lookup_remove, lookup_remove_wait
from neat.stack.tcp.respond cimport respond_rst, respond_wait_ack
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.types cimport MILLISECOND, NEVER, NO_INDEX, PAWS_IDLE_S, SECOND, Tcb, TcpPrivate, TimeWait
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_le, seq_lt

cdef enum:
    GIVES_WAY_AFTER_MS = 1000       # Linux's tcp_tw_reuse_delay


cdef int wait_create(Stack* stack) noexcept nogil:
    tcp = &stack.tcp
    tcp.wait_capacity = 4 * stack.config.max_connections
    tcp.waits = <TimeWait*>calloc(tcp.wait_capacity, sizeof(TimeWait))
    if tcp.waits == NULL:
        return -ENOMEM
    tcp.wait_first = NO_INDEX
    tcp.wait_last = NO_INDEX
    tcp.wait_free = NO_INDEX
    tcp.wait_fresh = 0
    return 0


cdef void append(Stack* stack, uint32_t index) noexcept nogil:
    """To the end of the list, with a whole 2 MSL before it."""
    cdef TcpPrivate* tcp = &stack.tcp
    cdef TimeWait* wait = &tcp.waits[index]
    wait.deadline = stack.now + stack.config.time_wait_ms * MILLISECOND
    wait.previous = tcp.wait_last
    wait.next = NO_INDEX
    if tcp.wait_last == NO_INDEX:
        tcp.wait_first = index
    else:
        tcp.waits[tcp.wait_last].next = index
    tcp.wait_last = index


cdef void unlink(TcpPrivate* tcp, TimeWait* wait) noexcept nogil:
    if wait.previous == NO_INDEX:
        tcp.wait_first = wait.next
    else:
        tcp.waits[wait.previous].next = wait.next
    if wait.next == NO_INDEX:
        tcp.wait_last = wait.previous
    else:
        tcp.waits[wait.next].previous = wait.previous


cdef void remove(Stack* stack, uint32_t index, bint flow_ends) noexcept nogil:
    cdef TcpPrivate* tcp = &stack.tcp
    cdef TimeWait* wait = &tcp.waits[index]
    lookup_remove_wait(tcp, wait, index)
    unlink(tcp, wait)
    if flow_ends:
        flow_record(stack, &wait.key, RECORD_FLOW_DELETE)
    wait.state = TcpState.FREE
    wait.next = tcp.wait_free
    tcp.wait_free = index
    count_add(stack, Counter.TCP_TIME_WAITING, -1)


cdef uint32_t take(Stack* stack) noexcept nogil:
    """A free entry. The table's untouched part comes last: it costs no memory until it is needed."""
    cdef TcpPrivate* tcp = &stack.tcp
    if tcp.wait_free == NO_INDEX and tcp.wait_fresh < tcp.wait_capacity:
        tcp.wait_fresh += 1
        return tcp.wait_fresh - 1
    if tcp.wait_free == NO_INDEX:
        count(stack, Counter.TCP_TIME_WAIT_RECYCLED)
        remove(stack, tcp.wait_first, True)
    cdef uint32_t index = tcp.wait_free
    tcp.wait_free = tcp.waits[index].next
    return index


cdef void wait_enter(Stack* stack, Tcb* tcb, uint32_t state, bint ack) noexcept nogil:
    cdef TcpPrivate* tcp = &stack.tcp
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t index = take(stack)
    cdef TimeWait* wait = &tcp.waits[index]
    memset(wait, 0, sizeof(TimeWait))
    wait.key = slot.key
    wait.state = state
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
    count_add(stack, Counter.TCP_TIME_WAITING, 1)
    count(stack, Counter.TCP_TIME_WAITS)
    if state == TcpState.TIME_WAIT:
        flow_record(stack, &wait.key, RECORD_FLOW_FADES)
    if ack:
        respond_wait_ack(stack, wait)
    conn_over(stack, tcb, 0, True)


cdef bint is_newer(Stack* stack, TimeWait* wait, Segment* seg) noexcept nogil:
    """RFC 6191 §2: may this SYN open the connection anew? Not if nobody is there to take it."""
    if seg.flags & (TCP_SYN | TCP_ACK | TCP_FIN) != TCP_SYN:
        return False
    if not listen_has_room(stack, &wait.key):
        return False
    if seg.has_ts and wait.timestamps and seg.tsval != wait.ts_recent:
        return seq_gt(seg.tsval, wait.ts_recent)
    return seq_gt(seg.seq, wait.rcv_nxt)


cdef bint is_old_duplicate(Stack* stack, TimeWait* wait, Segment* seg) noexcept nogil:
    """PAWS (RFC 7323 §5.3 R1, §5.5)."""
    return (
        seg.has_ts
        and wait.timestamps
        and seq_lt(seg.tsval, wait.ts_recent)
        and stack.now - wait.ts_recent_at < PAWS_IDLE_S * SECOND
    )


cdef bint is_in_window(TimeWait* wait, Segment* seg) noexcept nogil:
    """Has it text that we promised to take, and do not have yet?"""
    if seq_le(seg.seq, wait.rcv_nxt):
        return seq_gt(seg.seq + seg.text_len, wait.rcv_nxt)
    return seq_lt(seg.seq, wait.rcv_nxt + wait.rcv_wnd)


cdef void answer(Stack* stack, TimeWait* wait) noexcept nogil:
    """An ACK for what is not acceptable, but never so many that two such ends feed each other."""
    if stack.now >= wait.answer_after:
        wait.answer_after = stack.now + SECOND // 2
        respond_wait_ack(stack, wait)


cdef bint wait_input(
    Stack* stack, uint32_t index, Packet* packet, Segment* seg, uint32_t* iss_floor
) noexcept nogil:
    cdef TcpPrivate* tcp = &stack.tcp
    cdef TimeWait* wait = &tcp.waits[index]
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
        iss_floor[0] = wait.snd_nxt
        wait_replace(stack, index)
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
            wait.state = TcpState.TIME_WAIT
            flow_record(stack, &wait.key, RECORD_FLOW_FADES)
    if seg.flags & TCP_FIN and seg.seq + seg.len == wait.rcv_nxt:
        # RFC 9293 §3.10.7.4: "Acknowledge it, and restart the 2 MSL timeout."
        if seg.has_ts and wait.timestamps:
            wait.ts_recent = seg.tsval
            wait.ts_recent_at = stack.now
        unlink(tcp, wait)
        append(stack, index)
        respond_wait_ack(stack, wait)
    elif seg.len or seg.seq != wait.rcv_nxt:
        answer(stack, wait)
    return False


cdef bint wait_gives_way(Stack* stack, uint32_t index) noexcept nogil:
    """RFC 6191 §2 for our own SYN, as Linux's tcp_tw_reuse has it: its timestamp is later than all that we
    sent before, so the peer takes it for new; what is left of the old connection on the wire, PAWS
    rejects."""
    cdef TimeWait* wait = &stack.tcp.waits[index]
    if wait.state != TcpState.TIME_WAIT or not wait.timestamps:
        return False
    cdef uint64_t since = wait.deadline - stack.config.time_wait_ms * MILLISECOND
    return stack.now - since >= GIVES_WAY_AFTER_MS * MILLISECOND


cdef void wait_replace(Stack* stack, uint32_t index) noexcept nogil:
    count(stack, Counter.TCP_TIME_WAIT_REUSED)
    remove(stack, index, False)


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
