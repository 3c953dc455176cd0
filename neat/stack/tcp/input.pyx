"""TCP segments in: find the connection, then RFC 9293 §3.10.7 step by step, in its order."""

from libc.errno cimport ECONNREFUSED, ECONNRESET, EPIPE
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.poison cimport poison_acts
from neat.stack.state cimport SLOT_ORPHAN, SLOT_PASSIVE, SLOT_TIMESTAMPS, SLOT_WSCALE, ConnSlot
from neat.stack.tcp.ack cimport challenge, check_ack
from neat.stack.tcp.connection cimport conn_free, conn_over
from neat.stack.tcp.listen cimport listen_input
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.plan cimport has_unsent
from neat.stack.tcp.reassembly cimport ooo_twice
from neat.stack.tcp.segment cimport Segment, segment_parse
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.synsent cimport synsent_input
from neat.stack.tcp.text cimport check_fin, owe_ack, owe_duplicate, process_text
from neat.stack.tcp.timewait cimport wait_enter, wait_input
from neat.stack.tcp.types cimport NO_INDEX, PAWS_IDLE_S, SECOND, TF_RETRANSMIT, TF_SEND_SYN, TW_BIT, Tcb
from neat.stack.tcp.window cimport rcv_wnd
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FlowKey
from neat.wire.headers cimport PROTO_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG
from neat.wire.seq cimport seq_gt, seq_in_window, seq_le, seq_lt, seq_min


cdef void tcp_input(Stack* stack, Packet* packet) noexcept nogil:
    cdef Segment seg
    cdef FlowKey key
    count(stack, Counter.TCP_IN)
    if packet.broadcast:
        # RFC 9293 §3.9.2.3: "TCP MUST silently discard an incoming segment addressed to a broadcast or
        # multicast address"
        count(stack, Counter.TCP_BAD_ADDRESS)
        return
    if not segment_parse(stack, packet, &seg):
        return
    memset(&key, 0, sizeof(FlowKey))
    key.family = packet.family
    key.protocol = PROTO_TCP
    key.local_port = seg.local_port
    key.remote_port = seg.remote_port
    memcpy(key.local, packet.destination, 16)
    memcpy(key.remote, packet.source, 16)
    cdef uint32_t at = lookup(&stack.tcp, &key)
    if not at & TW_BIT:
        stack.state.suspect.conn = at
    if seg.poison and stack.config.poison:
        poison_acts(seg.poison)
    if at & TW_BIT:
        if at == NO_INDEX:
            listen_input(stack, packet, &seg, &key, NO_INDEX)
        elif wait_input(stack, at & ~TW_BIT, packet, &seg):
            listen_input(stack, packet, &seg, &key, at & ~TW_BIT)
        return
    cdef Tcb* tcb = &stack.tcp.tcbs[at]
    if tcb.slot.state == TcpState.SYN_SENT:
        if not synsent_input(stack, tcb, packet, &seg):
            return
    elif not segment_arrives(stack, tcb, packet, &seg):
        return
    if tcb.ack_owed or tcb.flags & (TF_RETRANSMIT | TF_SEND_SYN) or has_unsent(tcb):
        output_want(stack, tcb)


# SYN_RCVD and later: the eight steps. False: the connection is gone.
cdef bint segment_arrives(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil:
    if not check_sequence(stack, tcb, seg):
        return True
    if seg.flags & TCP_RST:
        return check_rst(stack, tcb, seg)
    if seg.flags & TCP_SYN and not check_syn(stack, tcb, seg):
        return True
    if not check_ack(stack, tcb, packet, seg):
        # What check_ack may have ended is not in the hash any more.
        return (
            tcb.slot.state != TcpState.FREE
            and tcb.slot.state != TcpState.CLOSED
            and tcb.slot.state != TcpState.TIME_WAIT
        )
    tcb.heard_at = stack.now
    tcb.keep_probes = 0
    if seg.has_ts:
        remember_timestamp(stack, tcb, seg)
    if seg.flags & TCP_URG:
        # Deviates: urgent data is read as part of the stream (RFC 6093 §6: new applications should not use
        # it).
        count(stack, Counter.TCP_URGENT_IGNORED)
    if not process_text(stack, tcb, packet, seg) or not check_fin(stack, tcb, seg):
        return False
    cdef ConnSlot* slot = tcb.slot
    if slot.state == TcpState.FIN_WAIT_2 and slot.flags & SLOT_ORPHAN:
        wait_enter(stack, tcb, TcpState.FIN_WAIT_2, tcb.ack_owed != 0)
        return False
    return True


cdef bint is_acceptable(Tcb* tcb, Segment* seg) noexcept nogil:
    """RFC 9293 §3.10.7.4, the table of four cases.

    Deviates, as Linux does: an empty segment may also stand at the right edge. There stand the ACKs of a peer
    that has filled our window and whose text got lost; if both ends do so, the strict rule locks them up.
    """
    wnd = rcv_wnd(tcb)
    if seg.len == 0:
        return seg.seq - tcb.rcv_nxt <= wnd
    if wnd == 0:
        return False
    return (
        seq_in_window(seg.seq, tcb.rcv_nxt, wnd)
        or seq_in_window(seg.seq + seg.len - 1, tcb.rcv_nxt, wnd)
        or (seq_lt(seg.seq, tcb.rcv_nxt) and seq_gt(seg.seq + seg.len, tcb.rcv_nxt))
    )


# Each returns False when the segment is done with.
cdef bint check_sequence(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """First: PAWS (RFC 7323 §5.3), sequence number; the timestamp of what is acceptable is remembered."""
    cdef bint is_syn = seg.flags & (TCP_SYN | TCP_RST) == TCP_SYN
    if is_syn and tcb.slot.state == TcpState.SYN_RCVD and seg.seq == tcb.slot.irs:
        if not seg.flags & TCP_ACK:
            # The peer's SYN again: our SYN-ACK was lost.
            tcb.flags |= TF_SEND_SYN
            output_want(stack, tcb)
            return False
        # Simultaneous open: the peer's SYN-ACK repeats the SYN that we know (RFC 9293 §3.5 figure 7).
        seg.flags &= ~TCP_SYN
        # Its window is not scaled (RFC 7323 §2.2), but what comes next takes it for scaled.
        if tcb.slot.flags & SLOT_WSCALE:
            seg.wnd >>= tcb.slot.snd_wscale
        seg.seq += 1
        seg.len -= 1
    if tcb.slot.flags & SLOT_TIMESTAMPS and not check_timestamp(stack, tcb, seg):
        return False
    if not is_acceptable(tcb, seg):
        if rcv_wnd(tcb) == 0 and seg.seq == tcb.rcv_nxt and not seg.flags & (TCP_RST | TCP_SYN):
            if seg.text_len == 0:
                return True  # a bare FIN needs no room; as on Linux
            # "special allowance should be made to accept valid ACKs": a probe of our closed window.
            owe_ack(tcb)
            seg.text_len = 0
            seg.len = 0
            seg.flags &= ~TCP_FIN
            return True
        count(stack, Counter.TCP_OUT_OF_WINDOW)
        if not seg.flags & TCP_RST:
            answer_stray(stack, tcb, seg)
        return False
    return True


cdef void answer_stray(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """RFC 9293 §3.10.7.4: "If an incoming segment is not acceptable, an acknowledgment should be sent".

    Limited if it has neither text nor FIN: else two ends that find fault with each other answer for ever.
    """
    if seg.len and not seg.flags & TCP_SYN:
        if seq_lt(seg.seq, tcb.rcv_nxt):
            ooo_twice(tcb, seg.seq, seq_min(seg.seq + seg.text_len, tcb.rcv_nxt))
        owe_duplicate(tcb)
    else:
        challenge(stack, tcb)


cdef bint is_outdated(Stack* stack, ConnSlot* slot) noexcept nogil:
    """RFC 7323 §5.5: TS.Recent of a connection idle for so long says nothing about what comes now."""
    return stack.now - slot.ts_recent_at >= PAWS_IDLE_S * SECOND


cdef bint check_timestamp(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    if not seg.has_ts:
        if not seg.flags & TCP_RST:
            # Deviates from RFC 7323 §3.2 (SHOULD drop), as Linux does: some peers leave them out.
            count(stack, Counter.TCP_NO_TIMESTAMP)
        return True
    if seq_lt(seg.tsval, slot.ts_recent) and not seg.flags & TCP_RST and not is_outdated(stack, slot):
        count(stack, Counter.TCP_PAWS)
        answer_stray(stack, tcb, seg)
        return False
    return True


cdef void remember_timestamp(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """RFC 7323 §4.3 (2): "SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent".

    As on Linux, not before RST, SYN and ACK were checked: "information from the Timestamps option MUST NOT be
    used" of a RST (§5.2), and who only guessed a sequence number cannot make PAWS reject the true peer.
    """
    cdef ConnSlot* slot = tcb.slot
    if seq_le(seg.seq, tcb.last_ack_sent) and (seq_le(slot.ts_recent, seg.tsval) or is_outdated(stack, slot)):
        slot.ts_recent = seg.tsval
        slot.ts_recent_at = stack.now


cdef bint check_rst(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """Second, as RFC 5961 §3.2 has it. Returns False when the connection is gone."""
    if seg.seq != tcb.rcv_nxt:
        count(stack, Counter.TCP_INEXACT_RST)
        challenge(stack, tcb)
        return True
    count(stack, Counter.TCP_RST_IN)
    if tcb.slot.state == TcpState.SYN_RCVD and tcb.slot.flags & SLOT_PASSIVE:
        conn_free(stack, tcb)  # "return this connection to the LISTEN state"
        return False
    count(stack, Counter.TCP_RESETS)
    cdef int32_t error = ECONNRESET
    if tcb.slot.state == TcpState.SYN_RCVD:
        error = ECONNREFUSED
    elif tcb.slot.state == TcpState.CLOSE_WAIT:
        error = EPIPE  # as on Linux
    conn_over(stack, tcb, error, False)
    return False


cdef bint check_syn(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """Fourth, as RFC 5961 §4.2 has it: a SYN in a synchronized state draws a challenge ACK."""
    count(stack, Counter.TCP_SYN_IN_WINDOW)
    challenge(stack, tcb)
    return False
