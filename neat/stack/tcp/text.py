"""Text and FIN of a segment, and when to acknowledge."""

import cython
from cython.cimports.libc.stdint import uint32_t


def write_ring(tcb, offset, text, length):
    at = cython.cast(uint32_t, offset & (tcb.rx_size - 1))
    first = min(length, tcb.rx_size - at)
    memcpy(tcb.rx_ring + at, text, first)
    if first < length:
        memcpy(tcb.rx_ring, text + first, length - first)


def advance_rx(stack, tcb, length):
    """The commit: the bytes are in the ring, now the stream has them. The ACK leaves later."""
    tcb.rcv_nxt += length
    store64(cython.address(tcb.slot.rx_tail), tcb.slot.rx_tail + length)
    store64(cython.address(tcb.sock.rx_tail), tcb.slot.rx_tail)
    count_add(stack, Counter.TCP_BYTES_IN, length)
    conn_event(stack, tcb, EV_READABLE)


def acknowledge_text(stack, tcb, packet, length, filled_gap):
    """RFC 5681 §4.2: "for at least every second full-sized segment", at once for a filled gap."""
    size = min(packet.gso_size if packet.gso_size else length, cython.cast(uint32_t, tcb.slot.rcv_mss))
    if size > tcb.rcv_seg:
        tcb.rcv_seg = size
    tcb.unacked += length
    if (
        filled_gap
        or tcb.unacked >= 2 * tcb.rcv_seg
        or stack.config.delayed_ack_ms == 0
        or peek32(cython.address(tcb.sock.options)) & NEAT_OPT_QUICKACK
    ):
        owe_ack(tcb)
    elif not timer_runs(tcb, TIMER_DELACK):
        timer_set(
            cython.address(stack.tcp),
            tcb,
            TIMER_DELACK,
            stack.now + stack.config.delayed_ack_ms * MILLISECOND,
        )


def process_text(stack, tcb, packet, seg):
    length = seg.text_len
    if length == 0:
        return True
    if not can_receive(tcb.slot.state):
        count(stack, Counter.TCP_DATA_AFTER_FIN)
        return True
    if tcb.slot.flags & SLOT_ORPHAN and seq_gt(seg.seq + length, tcb.rcv_nxt):
        # RFC 9293 §3.6: data that nobody will read draws a reset.
        count(stack, Counter.TCP_DATA_AFTER_CLOSE)
        respond_abort(stack, tcb)
        conn_over(stack, tcb, 0, False)
        return False
    start = seg.seq
    text = seg.text
    if seq_lt(start, tcb.rcv_nxt):
        skip = tcb.rcv_nxt - start
        if skip >= length:
            count(stack, Counter.TCP_OLD_DATA)
            owe_ack(tcb)
            return True
        start += skip
        text += skip
        length -= skip
    room = tcb.slot.rcv_adv - start
    if length > room:
        count(stack, Counter.TCP_BEYOND_WINDOW)
        seg.flags &= ~TCP_FIN
        owe_ack(tcb)
        length = room
        if length == 0:
            return True
    write_ring(tcb, tcb.slot.rx_tail + (start - tcb.rcv_nxt), text, length)
    if start != tcb.rcv_nxt:
        count(stack, Counter.TCP_OUT_OF_ORDER)
        owe_duplicate(tcb)
        if not ooo_insert(tcb, start, start + length):
            count(stack, Counter.TCP_OOO_FULL)
            seg.flags &= ~TCP_FIN
        return True
    if tcb.ooo_count == 0:
        advance_rx(stack, tcb, length)
        acknowledge_text(stack, tcb, packet, length, False)
    else:
        end = ooo_take(tcb, start + length)
        advance_rx(stack, tcb, end - start)
        acknowledge_text(stack, tcb, packet, length, True)
    return True


def check_fin(stack, tcb, seg):
    if seg.flags & TCP_FIN:
        fin_seq = seg.seq + seg.text_len
        if fin_seq != tcb.rcv_nxt:
            if seq_gt(fin_seq, tcb.rcv_nxt) and not tcb.slot.flags & SLOT_FIN_SEEN:
                tcb.flags |= TF_FIN_WAITS
                tcb.fin_seq = fin_seq
                if seg.text_len == 0:
                    owe_duplicate(tcb)  # text did so already
            return True
    elif not tcb.flags & TF_FIN_WAITS or tcb.fin_seq != tcb.rcv_nxt:
        return True
    slot = tcb.slot
    state = slot.state
    if not can_receive(state):
        return True  # CLOSE-WAIT, CLOSING, LAST-ACK: "Remain in the state."
    tcb.flags &= ~TF_FIN_WAITS
    slot.rx_fin = slot.rx_tail
    store32(cython.address(slot.flags), slot.flags | SLOT_FIN_SEEN)
    tcb.rcv_nxt += 1
    if seq_lt(slot.rcv_adv, tcb.rcv_nxt):
        slot.rcv_adv = tcb.rcv_nxt
    owe_ack(tcb)
    conn_event(stack, tcb, EV_READABLE | EV_RDHUP)
    if state != TcpState.ESTABLISHED and state != TcpState.FIN_WAIT_1:
        # One store, in conn_over, says both: FIN alone would show a connection that Linux does not have.
        tcb.status |= NEAT_ST_RDHUP | NEAT_ST_FIN
        wait_enter(stack, tcb, TcpState.TIME_WAIT, True)
        return False
    conn_status(tcb, NEAT_ST_RDHUP | NEAT_ST_FIN)
    # FIN-WAIT-1: our FIN is not acknowledged yet, or check_ack had left this state.
    conn_set_state(tcb, TcpState.CLOSE_WAIT if state == TcpState.ESTABLISHED else TcpState.CLOSING)
    return True
