"""TCP segments out: the fair queue of connections, and one frame of one connection."""

from libc.errno cimport EAGAIN
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.counters cimport Counter
from neat.stack.ipv4 cimport ipv4_prepare
from neat.stack.state cimport SLOT_SACK_OK, SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot
from neat.stack.tcp.commands cimport tcp_drop
from neat.stack.tcp.congestion cimport congestion_restart
from neat.stack.tcp.connection cimport conn_over
from neat.stack.tcp.deadlines cimport timer_clear, timer_runs, timer_set
from neat.stack.tcp.plan cimport Plan, effective_mss, has_unsent, plan_next
from neat.stack.tcp.respond cimport empty_seq, timestamp_now
from neat.stack.tcp.sack cimport sack_fill
from neat.stack.tcp.segment cimport NO_WSCALE, Outgoing, outgoing_bytes, segment_finish, segment_write
from neat.stack.tcp.spans cimport gather_text
from neat.stack.tcp.state cimport TcpState, can_transmit
from neat.stack.tcp.types cimport (
    MICROSECOND, MILLISECOND, NO_INDEX, TF_ABORT, TF_FIN_SENT, TF_FORCE, TF_KEEPALIVE, TF_PROBE, TF_QUEUED,
    TF_RETRANSMIT, TF_SACKED, TF_SEND_SYN, TF_TIMING, TF_WAITS_NEIGHBOUR, TIMER_DELACK, TIMER_PERSIST,
    TIMER_RETRANSMIT, Tcb, TcpPrivate,
)
from neat.stack.tcp.window cimport window_advertise, window_publish
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN
from neat.wire.seq cimport seq_gt, seq_lt, seq_max

cdef enum:
    # longest that a silly window or a cork holds text back (RFC 9293 §3.8.6.2.1: 0.1 to 1.0 s)
    OVERRIDE_MS = 200


cdef void output_want(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.flags & (TF_QUEUED | TF_WAITS_NEIGHBOUR):
        return
    tcb.flags |= TF_QUEUED
    tcb.queue_next = NO_INDEX
    if stack.tcp.queue_last == NO_INDEX:
        stack.tcp.queue_first = tcb.index
    else:
        stack.tcp.tcbs[stack.tcp.queue_last].queue_next = tcb.index
    stack.tcp.queue_last = tcb.index


cdef uint32_t cut(TcpPrivate* tcp, uint32_t* first, uint32_t index) noexcept nogil:
    """Out of a chain of queue_next; returns the entry before it."""
    cdef uint32_t previous = NO_INDEX
    cdef uint32_t at = first[0]
    while at != NO_INDEX and at != index:
        previous = at
        at = tcp.tcbs[at].queue_next
    if at == index:
        if previous == NO_INDEX:
            first[0] = tcp.tcbs[index].queue_next
        else:
            tcp.tcbs[previous].queue_next = tcp.tcbs[index].queue_next
    return previous


cdef void output_forget(Stack* stack, Tcb* tcb) noexcept nogil:
    tcp = &stack.tcp
    if tcb.flags & TF_QUEUED:
        previous = cut(tcp, &tcp.queue_first, tcb.index)
        if tcp.queue_last == tcb.index:
            tcp.queue_last = previous
    elif tcb.flags & TF_WAITS_NEIGHBOUR:
        cut(tcp, &tcp.waiting_first, tcb.index)
    tcb.flags &= ~(TF_QUEUED | TF_WAITS_NEIGHBOUR)


cdef uint32_t tcp_poll(Stack* stack, uint8_t* buffer) noexcept nogil:
    cdef Tcb* tcb
    cdef uint32_t length
    cdef TcpPrivate* tcp = &stack.tcp
    while tcp.queue_first != NO_INDEX:
        tcb = &tcp.tcbs[tcp.queue_first]
        tcp.queue_first = tcb.queue_next
        if tcp.queue_first == NO_INDEX:
            tcp.queue_last = NO_INDEX
        tcb.flags &= ~TF_QUEUED
        stack.state.suspect.conn = tcb.index
        length = send_next(stack, tcb, buffer)
        if length:
            if tcb.ack_owed or has_unsent(tcb) or tcb.flags & (TF_RETRANSMIT | TF_SEND_SYN | TF_ABORT):
                output_want(stack, tcb)
            return length
    return 0


cdef void tcp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil:
    """Whichever neighbour it was: those that still have to wait come back to the list by themselves."""
    cdef Tcb* tcb
    cdef TcpPrivate* tcp = &stack.tcp
    cdef uint32_t at = tcp.waiting_first
    tcp.waiting_first = NO_INDEX
    while at != NO_INDEX:
        tcb = &tcp.tcbs[at]
        at = tcb.queue_next
        tcb.flags &= ~TF_WAITS_NEIGHBOUR
        output_want(stack, tcb)


cdef uint32_t send_next(Stack* stack, Tcb* tcb, uint8_t* buffer) noexcept nogil:
    """One frame of this connection, 0 when it has nothing to send now."""
    cdef Plan plan
    state = tcb.slot.state
    if tcb.flags & TF_ABORT:
        return send_last(stack, tcb, buffer)
    if tcb.flags & TF_SEND_SYN:
        return send_syn(stack, tcb, buffer)
    if can_transmit(state):
        if plan_next(stack, tcb, &plan):
            return send_text(stack, tcb, buffer, &plan)
        if plan.blocked and not timer_runs(tcb, TIMER_PERSIST):
            start_persist(stack, tcb)
    if state == TcpState.SYN_SENT:
        return 0
    if tcb.flags & TF_KEEPALIVE:
        # RFC 9293 §3.8.4: SEG.SEQ = SND.NXT-1, no text, so that older implementations answer too.
        tcb.flags &= ~TF_KEEPALIVE
        return send_empty(stack, tcb, buffer, tcb.snd_una - 1)
    if tcb.ack_owed:
        # Not at snd_nxt, which may have gone back: below, a peer that has more would not even read the ACK.
        return send_empty(stack, tcb, buffer, empty_seq(tcb))
    return 0


cdef uint32_t send_last(Stack* stack, Tcb* tcb, uint8_t* buffer) noexcept nogil:
    """TF_ABORT: text while some may leave, then the reset, by way of the replies. Nothing is waited for."""
    cdef Plan plan
    cdef uint32_t length = 0
    if can_transmit(tcb.slot.state) and plan_next(stack, tcb, &plan):
        length = send_text(stack, tcb, buffer, &plan)
    if length == 0:
        tcp_drop(stack, tcb)
    return length


cdef void start_persist(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef uint64_t wait = OVERRIDE_MS * MILLISECOND
    if tcb.slot.snd_wnd == 0:
        wait = tcb.rto_us * MICROSECOND
    timer_set(&stack.tcp, tcb, TIMER_PERSIST, stack.now + wait)


cdef void fill(Stack* stack, Tcb* tcb, Outgoing* out, uint32_t seq, uint8_t flags) noexcept nogil:
    """The header of a segment in a synchronized state."""
    cdef ConnSlot* slot = tcb.slot
    out.local_port = slot.key.local_port
    out.remote_port = slot.key.remote_port
    out.seq = seq
    out.ack = tcb.rcv_nxt
    out.flags = flags
    out.wnd = window_advertise(tcb, stack.now)
    window_publish(tcb)
    out.wscale = NO_WSCALE
    out.mss = 0
    out.sack_ok = False
    out.blocks = 0
    out.has_ts = slot.flags & SLOT_TIMESTAMPS != 0
    if out.has_ts:
        out.tsval = timestamp_now(stack, slot.ts_offset)
        out.tsecr = slot.ts_recent


cdef int32_t start_frame(
    Stack* stack, Tcb* tcb, uint8_t* buffer, Outgoing* out, uint32_t text
) noexcept nogil:
    """Headers without checksum. Offset of TCP's; -EAGAIN: waiting for its neighbour; else: lost."""
    cdef uint32_t size = outgoing_bytes(out)
    cdef uint8_t tos = 0
    cdef uint8_t ttl = 0
    if tcb.sock != NULL:
        tos = tcb.sock.tos & 0xFC
        ttl = tcb.sock.ttl
    cdef int32_t l4 = ipv4_prepare(stack, buffer, tcb.slot.key.remote, PROTO_TCP, size + text, tos, ttl)
    if l4 >= 0:
        segment_write(buffer + l4, out)
    elif l4 == -EAGAIN:
        tcb.flags |= TF_WAITS_NEIGHBOUR
        tcb.queue_next = stack.tcp.waiting_first
        stack.tcp.waiting_first = tcb.index
    else:
        count(stack, Counter.TCP_UNREACHABLE)
    return l4


cdef void ack_left(Tcb* tcb, bint pure) noexcept nogil:
    """A segment with ACK leaves. Duplicate ACKs only count as such for the peer when they carry no text."""
    if pure or tcb.ack_owed == 1:
        tcb.ack_owed -= 1 if tcb.ack_owed else 0
    tcb.unacked = 0
    tcb.last_ack_sent = tcb.rcv_nxt
    timer_clear(tcb, TIMER_DELACK)


cdef uint32_t send_empty(Stack* stack, Tcb* tcb, uint8_t* buffer, uint32_t seq) noexcept nogil:
    cdef Outgoing out
    fill(stack, tcb, &out, seq, TCP_ACK)
    sack_fill(tcb, &out)
    cdef int32_t l4 = start_frame(stack, tcb, buffer, &out, 0)
    if l4 == -EAGAIN:
        return 0
    ack_left(tcb, True)
    if l4 < 0:
        return 0
    cdef uint32_t size = outgoing_bytes(&out)
    segment_finish(stack, buffer, l4, size, size, 0, tcb.slot.key.local, tcb.slot.key.remote)
    count(stack, Counter.TCP_OUT)
    return l4 + size


cdef uint32_t send_syn(Stack* stack, Tcb* tcb, uint8_t* buffer) noexcept nogil:
    """SYN, or SYN-ACK, with the options that we offer or that were negotiated."""
    cdef Outgoing out
    cdef ConnSlot* slot = tcb.slot
    fill(stack, tcb, &out, slot.iss, TCP_SYN)
    if slot.state == TcpState.SYN_SENT:
        out.ack = 0
    else:
        out.flags |= TCP_ACK
    # RFC 7323 §2.2: "The window field in a segment where the SYN bit is set [...] MUST NOT be scaled."
    out.wnd = <uint16_t>min(tcb.rcv_limit, 65535)
    slot.rcv_adv = tcb.rcv_nxt + out.wnd
    out.mss = slot.rcv_mss
    out.sack_ok = slot.flags & SLOT_SACK_OK != 0
    if slot.flags & SLOT_WSCALE:
        out.wscale = slot.rcv_wscale
    cdef int32_t l4 = start_frame(stack, tcb, buffer, &out, 0)
    if l4 == -EAGAIN:
        return 0
    tcb.flags &= ~TF_SEND_SYN
    if tcb.slot.snd_max == slot.iss:
        tcb.snd_nxt = slot.iss + 1
        tcb.slot.snd_max = slot.iss + 1
        tcb.rtt_seq = slot.iss + 1
        tcb.rtt_at = stack.now
        tcb.flags |= TF_TIMING
    else:
        tcb.flags &= ~TF_TIMING
    ack_left(tcb, True)
    if not timer_runs(tcb, TIMER_RETRANSMIT):
        timer_set(&stack.tcp, tcb, TIMER_RETRANSMIT, stack.now + tcb.rto_us * MICROSECOND)
    if l4 < 0:
        if slot.state == TcpState.SYN_SENT:
            conn_over(stack, tcb, -l4, False)
        return 0
    cdef uint32_t size = outgoing_bytes(&out)
    segment_finish(stack, buffer, l4, size, size, 0, slot.key.local, slot.key.remote)
    count(stack, Counter.TCP_OUT)
    return l4 + size


cdef void read_ring(Tcb* tcb, uint64_t offset, uint8_t* to, uint32_t length) noexcept nogil:
    cdef uint32_t at = <uint32_t>(offset & (tcb.tx_size - 1))
    cdef uint32_t first = min(length, tcb.tx_size - at)
    memcpy(to, tcb.tx_ring + at, first)
    if first < length:
        memcpy(to + first, tcb.tx_ring, length - first)


cdef uint32_t send_text(Stack* stack, Tcb* tcb, uint8_t* buffer, Plan* plan) noexcept nogil:
    """Text, FIN or both. A frame that cannot leave counts as sent and lost: the timer deals with it."""
    cdef Outgoing out
    cdef ConnSlot* slot = tcb.slot
    if plan.is_new and tcb.snd_nxt == tcb.snd_una and stack.now - tcb.sent_at > tcb.rto_us * MICROSECOND:
        congestion_restart(tcb)
    cdef uint8_t flags = TCP_ACK
    if plan.push and plan.length:
        flags |= TCP_PSH
    if plan.fin:
        flags |= TCP_FIN
    fill(stack, tcb, &out, plan.seq, flags)
    cdef int32_t l4 = start_frame(stack, tcb, buffer, &out, plan.length)
    if l4 == -EAGAIN:
        return 0
    cdef uint32_t mss = effective_mss(tcb)
    cdef uint32_t size = outgoing_bytes(&out)
    cdef uint64_t offset = slot.tx_head + (plan.seq - tcb.snd_una)
    if l4 >= 0 and not gather_text(stack, tcb, offset, plan.length):
        read_ring(tcb, offset, buffer + l4 + size, plan.length)
    ack_left(tcb, False)
    note_sent(stack, tcb, plan, mss)
    if l4 < 0:
        return 0
    segment_finish(
        stack,
        buffer,
        l4,
        size,
        size + plan.length,
        mss if plan.length > mss else 0,
        slot.key.local,
        slot.key.remote,
    )
    count(stack, Counter.TCP_OUT)
    count_add(stack, Counter.TCP_BYTES_OUT, plan.length)
    return l4 + size + plan.length


cdef void note_sent(Stack* stack, Tcb* tcb, Plan* plan, uint32_t mss) noexcept nogil:
    """What leaving text changes: snd_nxt, the timed segment, the retransmission timer."""
    cdef uint32_t end = plan.seq + plan.length + (1 if plan.fin else 0)
    if plan.fin:
        tcb.flags |= TF_FIN_SENT
    if seq_lt(plan.seq, tcb.slot.snd_max):
        # RFC 6298 §3, Karn: "RTT samples MUST NOT be made using segments that were retransmitted"
        tcb.flags &= ~TF_TIMING
        tcb.retransmits += 1
        if not tcb.flags & TF_PROBE:
            count(stack, Counter.TCP_RETRANSMITS)
    elif not tcb.flags & (TF_TIMING | TF_PROBE):
        tcb.flags |= TF_TIMING
        tcb.rtt_seq = end
        tcb.rtt_at = stack.now
    if seq_gt(end, tcb.slot.snd_max):
        tcb.slot.snd_max = end
    tcb.sent_at = stack.now
    if not plan.is_new and tcb.flags & TF_PROBE and not tcb.flags & TF_RETRANSMIT:
        tcb.flags &= ~TF_PROBE
        count(stack, Counter.TCP_ZERO_WINDOW_PROBES)
        return
    if seq_gt(end, tcb.snd_nxt):
        tcb.snd_nxt = end
    if plan.length % mss:
        tcb.snd_small = end
    if not plan.is_new:
        tcb.high_rxt = seq_max(tcb.high_rxt, end)
    tcb.flags &= ~TF_FORCE
    if not tcb.flags & TF_SACKED:
        tcb.flags &= ~TF_RETRANSMIT  # else as long as the scoreboard has something
    timer_clear(tcb, TIMER_PERSIST)
    if not timer_runs(tcb, TIMER_RETRANSMIT):
        timer_set(&stack.tcp, tcb, TIMER_RETRANSMIT, stack.now + tcb.rto_us * MICROSECOND)
