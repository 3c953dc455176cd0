"""The ACK field of a segment: what it acknowledges, the send window, and where it leads."""

from libc.stdint cimport uint32_t
from neat.abi.channel cimport NEAT_ST_CONNECTED, NEAT_ST_CONNECTING
from neat.shm.atomic cimport fence, peek32, store32, store64
from neat.stack.config cimport EV_ACCEPT, EV_CONNECTED, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport (
    SLOT_FIN_ACKED, SLOT_FIN_QUEUED, SLOT_ORPHAN, SLOT_PASSIVE, SLOT_SACK_OK, SLOT_SYN_ACKED, SLOT_TIMESTAMPS,
    SLOT_WSCALE, ConnSlot,
)
from neat.stack.tcp.congestion cimport (
    congestion_ack, congestion_dup_ack, congestion_sacked, congestion_start,
)
from neat.stack.tcp.connection cimport conn_event, conn_over, conn_publish, conn_set_state, conn_status
from neat.stack.tcp.deadlines cimport timer_clear, timer_set
from neat.stack.tcp.keepalive cimport keepalive_start
from neat.stack.tcp.listen cimport listen_defers, listen_establish
from neat.stack.tcp.plan cimport pending
from neat.stack.tcp.respond cimport respond_rst, timestamp_now
from neat.stack.tcp.rtt cimport RTO_AFTER_SYN_LOSS_US, rto_restore, rtt_sample
from neat.stack.tcp.scoreboard cimport scoreboard_advance, scoreboard_note
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport (
    MICROSECOND, MILLISECOND, SECOND, TF_BACKED_OFF, TF_DEFERRED, TF_PROBE, TF_SEND_SYN, TF_TIMING,
    TIMER_PERSIST, TIMER_RETRANSMIT, Tcb,
)
from neat.stack.tcp.window cimport window_publish
from neat.stack.types cimport Stack, count
from neat.wire.headers cimport TCP_ACK, TCP_SYN
from neat.wire.seq cimport seq_ge, seq_gt, seq_le, seq_lt

cdef enum:
    PUBLISH_MS = 100                # TCP_INFO is as old as this at most


cdef void challenge(Stack* stack, Tcb* tcb) noexcept nogil:
    if stack.now >= tcb.challenged_at + SECOND:
        tcb.challenged_at = stack.now
        tcb.challenges = 0
    if tcb.challenges >= 10:
        count(stack, Counter.TCP_CHALLENGE_LIMITED)
        return
    tcb.challenges += 1
    count(stack, Counter.TCP_CHALLENGE_ACKS)
    owe_ack(tcb)


cdef bint check_ack(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil:
    if not seg.flags & TCP_ACK:
        count(stack, Counter.TCP_NO_ACK)
        return False
    if tcb.slot.state == TcpState.SYN_RCVD:
        if not (seq_lt(tcb.snd_una, seg.ack) and seq_le(seg.ack, tcb.slot.snd_max)):
            count(stack, Counter.TCP_BAD_ACK)
            respond_rst(stack, packet, seg)
            return False
        again = tcb.flags & TF_DEFERRED
        if listen_defers(stack, tcb, seg):
            if not again:
                sample_rtt(stack, tcb, seg)
            return False
        if not establish(stack, tcb, seg):
            return False
    # RFC 5961 §5.2: acceptable is SND.UNA - MAX.SND.WND =< SEG.ACK =< SND.NXT; else an ACK, and drop.
    if seq_gt(seg.ack, tcb.slot.snd_max) or seq_lt(seg.ack, tcb.snd_una - tcb.max_window):
        count(stack, Counter.TCP_BAD_ACK)
        challenge(stack, tcb)
        return False
    cdef bint sacks = tcb.slot.flags & SLOT_SACK_OK != 0
    cdef bint news = sacks and scoreboard_note(tcb, seg)
    cdef bint moves = seq_gt(seg.ack, tcb.snd_una)
    if moves:
        acknowledged(stack, tcb, seg)
    elif not sacks and is_duplicate(tcb, seg):
        congestion_dup_ack(stack, tcb)
    if news:
        congestion_sacked(stack, tcb, not moves)
    if seq_ge(seg.ack, tcb.snd_una):
        if tcb.slot.snd_wnd == 0 and not tcb.slot.flags & SLOT_ORPHAN:
            # A peer that answers probes may keep its window closed for as long as it likes (RFC 9293
            # §3.8.6.1). Not that of an orphan, as on Linux: who could tell it to give up? And not for longer
            # than TCP_USER_TIMEOUT: tcp(7), "or buffered data may remain untransmitted (due to zero window
            # size)".
            tcb.retries = 0
        update_window(stack, tcb, seg)
    if tcb.slot.flags & SLOT_FIN_ACKED:
        return fin_acknowledged(stack, tcb)
    return True


cdef bint establish(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """RFC 9293 §3.10.7.4: "set SND.WND <- SEG.WND, SND.WL1 <- SEG.SEQ, SND.WL2 <- SEG.ACK"."""
    slot = tcb.slot
    if slot.flags & SLOT_PASSIVE and not listen_establish(stack, tcb):
        return False
    if not tcb.flags & TF_DEFERRED:
        sample_rtt(stack, tcb, seg)  # else the application's time, not the network's
    tcb.snd_una = slot.iss + 1
    slot.flags |= SLOT_SYN_ACKED
    if seq_lt(tcb.snd_nxt, tcb.snd_una):
        tcb.snd_nxt = tcb.snd_una
    tcb.snd_small = tcb.snd_una
    slot.snd_wnd = seg.wnd
    if slot.flags & SLOT_WSCALE and not seg.flags & TCP_SYN:
        slot.snd_wnd = seg.wnd << slot.snd_wscale
    slot.snd_wl1 = seg.seq
    slot.snd_wl2 = seg.ack
    tcb.max_window = slot.snd_wnd
    tcb.flags &= ~(TF_SEND_SYN | TF_BACKED_OFF)
    tcb.stalled_since = 0
    tcb.heard_at = stack.now
    timer_clear(tcb, TIMER_RETRANSMIT)
    congestion_start(tcb)
    rto_restore(stack, tcb)
    if tcb.srtt_us == 0:
        tcb.rto_us = RTO_AFTER_SYN_LOSS_US  # RFC 6298 §5.7
    count(stack, Counter.TCP_HANDSHAKES)
    conn_set_state(tcb, TcpState.FIN_WAIT_1 if slot.flags & SLOT_FIN_QUEUED else TcpState.ESTABLISHED)
    tcb.status &= ~NEAT_ST_CONNECTING
    conn_status(tcb, NEAT_ST_CONNECTED)
    conn_publish(tcb)
    window_publish(tcb)
    keepalive_start(stack, tcb)
    conn_event(stack, tcb, EV_ACCEPT if slot.flags & SLOT_PASSIVE else EV_CONNECTED)
    return True


cdef bint is_duplicate(Tcb* tcb, Segment* seg) noexcept nogil:
    """RFC 5681 §2: outstanding data, no text, no SYN or FIN, the same acknowledgment, the same window."""
    if seg.len or seg.ack != tcb.snd_una or tcb.snd_una == tcb.slot.snd_max:
        return False
    cdef uint32_t wnd = seg.wnd
    if tcb.slot.flags & SLOT_WSCALE:
        wnd <<= tcb.slot.snd_wscale
    return wnd == tcb.slot.snd_wnd and wnd != 0


cdef void update_window(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    if not (seq_lt(slot.snd_wl1, seg.seq) or (slot.snd_wl1 == seg.seq and seq_le(slot.snd_wl2, seg.ack))):
        return
    slot.snd_wl1 = seg.seq
    slot.snd_wl2 = seg.ack
    cdef uint32_t wnd = seg.wnd
    if slot.flags & SLOT_WSCALE and not seg.flags & TCP_SYN:
        wnd <<= slot.snd_wscale
    if wnd == slot.snd_wnd:
        return
    if slot.snd_wnd == 0:
        # It opens: what a probe sent may have been dropped, so sending goes on at snd_una.
        timer_clear(tcb, TIMER_PERSIST)
        tcb.stalled_since = 0
        tcb.flags &= ~TF_PROBE
        rto_restore(stack, tcb)
        if tcb.flags & TF_BACKED_OFF:
            # Text that was under way when it closed was dropped since: no need to wait for the timer.
            tcb.snd_nxt = tcb.snd_una
    slot.snd_wnd = wnd
    if wnd > tcb.max_window:
        tcb.max_window = wnd


cdef void sample_rtt(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """One timed segment a round trip; after a retransmission, which must not be timed, the echoed timestamp.

    The echo of anything but what was sent last is ambiguous (RFC 6298 §3): an ACK before it may be lost.
    """
    cdef uint32_t echo
    if tcb.flags & TF_TIMING:
        if seq_ge(seg.ack, tcb.rtt_seq):
            tcb.flags &= ~TF_TIMING
            rtt_sample(stack, tcb, (stack.now - tcb.rtt_at) // 1000)
            if stack.now - tcb.published_at >= PUBLISH_MS * MILLISECOND:
                tcb.published_at = stack.now
                conn_publish(tcb)
    elif tcb.slot.flags & SLOT_TIMESTAMPS and seg.has_ts:
        echo = timestamp_now(stack, tcb.slot.ts_offset) - seg.tsecr
        if echo < 60_000 and echo * MILLISECOND <= stack.now - tcb.sent_at + MILLISECOND:
            rtt_sample(stack, tcb, echo * 1000)


cdef void acknowledged(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """SND.UNA < SEG.ACK =< SND.NXT: "set SND.UNA <- SEG.ACK"."""
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t acked = seg.ack - tcb.snd_una
    cdef uint32_t in_flight = tcb.snd_nxt - tcb.snd_una
    cdef uint32_t text = min(acked, pending(tcb))
    count(stack, Counter.TCP_ACKED)
    sample_rtt(stack, tcb, seg)
    tcb.snd_una = seg.ack
    scoreboard_advance(tcb)
    if text:
        if slot.tx_head == 0:
            count(stack, Counter.TCP_SERVED)
        store64(&slot.tx_head, slot.tx_head + text)
        store64(&tcb.sock.tx_head, slot.tx_head)
    if text < acked:
        # After tx_head: a successor must not count a FIN whose text is still ours to send.
        store32(&slot.flags, slot.flags | SLOT_FIN_ACKED)
    if seq_lt(tcb.snd_nxt, tcb.snd_una):
        tcb.snd_nxt = tcb.snd_una
    if seq_lt(tcb.snd_small, tcb.snd_una):
        tcb.snd_small = tcb.snd_una  # close by, to be compared with
    # The backed-off RTO stays until there is a sample (RFC 6298 §5.3): else it would never grow to the round
    # trip.
    tcb.flags &= ~TF_BACKED_OFF
    tcb.retries = 0
    tcb.stalled_since = 0
    # RFC 6298 §5.2, §5.3
    if tcb.snd_una == tcb.slot.snd_max:
        timer_clear(tcb, TIMER_RETRANSMIT)
    else:
        timer_set(&stack.tcp, tcb, TIMER_RETRANSMIT, stack.now + tcb.rto_us * MICROSECOND)
    congestion_ack(stack, tcb, acked, in_flight)
    if text:
        signal_writable(stack, tcb)


cdef bint is_writable(Tcb* tcb) noexcept nogil:
    limit = peek32(&tcb.sock.sndbuf)
    if limit == 0 or limit > tcb.tx_size:
        limit = tcb.tx_size
    return pending(tcb) <= limit - limit // 3 or tcb.slot.flags & SLOT_FIN_QUEUED != 0


# A third of the transmit ring is free, and the application waits for that.
cdef void signal_writable(Stack* stack, Tcb* tcb) noexcept nogil:
    """The application fills its descriptor, then looks at tx_head; we do it the other way round."""
    fence()
    if peek32(&tcb.sock.out_block) and is_writable(tcb):
        conn_event(stack, tcb, EV_WRITABLE)


cdef bint fin_acknowledged(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef uint32_t state = tcb.slot.state
    if state == TcpState.FIN_WAIT_1:
        conn_set_state(tcb, TcpState.FIN_WAIT_2)
    elif state == TcpState.CLOSING:
        # The ACK of the peer's FIN may not have left yet.
        wait_enter(stack, tcb, TcpState.TIME_WAIT, tcb.ack_owed != 0)
        return False
    elif state == TcpState.LAST_ACK:
        count(stack, Counter.TCP_CLOSED)
        conn_over(stack, tcb, 0, False)
        return False
    return True
