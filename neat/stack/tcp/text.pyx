"""Text and FIN of a segment, and when to acknowledge."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.abi.channel cimport NEAT_OPT_QUICKACK, NEAT_ST_FIN, NEAT_ST_RDHUP
from neat.shm.atomic cimport peek32, store32, store64
from neat.stack.config cimport EV_RDHUP, EV_READABLE
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_FIN_EARLY, SLOT_FIN_SEEN, SLOT_ORPHAN, ConnSlot
from neat.stack.tcp.connection cimport conn_event, conn_over, conn_set_state, conn_status
from neat.stack.tcp.deadlines cimport timer_runs, timer_set
from neat.stack.tcp.reassembly cimport ooo_drop, ooo_insert, ooo_reach, ooo_twice
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.spans cimport text_came
from neat.stack.tcp.state cimport TcpState, can_receive
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport MILLISECOND, TF_FIN_WAITS, TF_RESUMED, TIMER_DELACK, Tcb
from neat.stack.types cimport Stack, count, count_add
from neat.wire.headers cimport TCP_FIN
from neat.wire.seq cimport seq_gt, seq_lt, seq_min


cdef void write_ring(Tcb* tcb, uint64_t offset, const uint8_t* text, uint32_t length) noexcept nogil:
    cdef uint32_t at = <uint32_t>(offset & (tcb.rx_size - 1))
    cdef uint32_t first = min(length, tcb.rx_size - at)
    memcpy(tcb.rx_ring + at, text, first)
    if first < length:
        memcpy(tcb.rx_ring, text + first, length - first)


cdef void advance_rx(Stack* stack, Tcb* tcb, uint32_t length) noexcept nogil:
    """The commit: the bytes are in the ring, now the stream has them. The ACK leaves later."""
    tcb.rcv_nxt += length
    store64(&tcb.slot.rx_tail, tcb.slot.rx_tail + length)
    store64(&tcb.sock.rx_tail, tcb.slot.rx_tail)
    count_add(stack, Counter.TCP_BYTES_IN, length)
    conn_event(stack, tcb, EV_READABLE)


cdef void acknowledge_text(
    Stack* stack, Tcb* tcb, Packet* packet, uint32_t length, bint filled_gap
) noexcept nogil:
    """RFC 5681 §4.2: "for at least every second full-sized segment", at once for a filled gap."""
    cdef uint32_t size = min(packet.gso_size if packet.gso_size else length, <uint32_t>tcb.slot.rcv_mss)
    if size > tcb.rcv_seg:
        tcb.rcv_seg = size
    tcb.unacked += length
    if (
        filled_gap
        or tcb.unacked >= 2 * tcb.rcv_seg
        or stack.config.delayed_ack_ms == 0
        or peek32(&tcb.sock.options) & NEAT_OPT_QUICKACK
        or tcb.flags & TF_RESUMED
    ):
        tcb.flags &= ~TF_RESUMED
        owe_ack(tcb)
    elif not timer_runs(tcb, TIMER_DELACK):
        timer_set(&stack.tcp, tcb, TIMER_DELACK, stack.now + stack.config.delayed_ack_ms * MILLISECOND)


cdef bint process_text(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil:
    cdef uint32_t skip, end
    cdef uint32_t length = seg.text_len
    if length == 0:
        return True
    text_came(stack, tcb, packet, seg)
    if not can_receive(tcb.slot.state):
        count(stack, Counter.TCP_DATA_AFTER_FIN)
        return True
    if tcb.slot.flags & SLOT_ORPHAN and seq_gt(seg.seq + length, tcb.rcv_nxt):
        # RFC 9293 §3.6: data that nobody will read draws a reset.
        count(stack, Counter.TCP_DATA_AFTER_CLOSE)
        respond_abort(stack, tcb)
        conn_over(stack, tcb, 0, False)
        return False
    cdef uint32_t start = seg.seq
    cdef uint8_t* text = seg.text
    if seq_lt(start, tcb.rcv_nxt):
        ooo_twice(tcb, start, seq_min(start + length, tcb.rcv_nxt))
        skip = tcb.rcv_nxt - start
        if skip >= length:
            count(stack, Counter.TCP_OLD_DATA)
            owe_ack(tcb)
            return True
        start += skip
        text += skip
        length -= skip
    cdef uint32_t room = tcb.slot.rcv_adv - start
    if length > room:
        count(stack, Counter.TCP_BEYOND_WINDOW)
        seg.flags &= ~TCP_FIN
        owe_ack(tcb)
        length = room
        if length == 0:
            return True
    if stack.tcp.placed != tcb.index:
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
        end = ooo_reach(tcb, start + length)
        advance_rx(stack, tcb, end - start)
        ooo_drop(tcb)
        acknowledge_text(stack, tcb, packet, length, True)
    return True


cdef bint check_fin(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    cdef uint32_t fin_seq
    if seg.flags & TCP_FIN:
        fin_seq = seg.seq + seg.text_len
        if fin_seq != tcb.rcv_nxt:
            if seq_gt(fin_seq, tcb.rcv_nxt) and not tcb.slot.flags & SLOT_FIN_SEEN:
                tcb.flags |= TF_FIN_WAITS
                tcb.fin_seq = fin_seq
                tcb.slot.rx_fin = tcb.slot.rx_tail + (fin_seq - tcb.rcv_nxt)
                store32(&tcb.slot.flags, tcb.slot.flags | SLOT_FIN_EARLY)
                if seg.text_len == 0:
                    owe_duplicate(tcb)  # text did so already
            return True
    elif not tcb.flags & TF_FIN_WAITS or tcb.fin_seq != tcb.rcv_nxt:
        return True
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t state = slot.state
    if not can_receive(state):
        return True  # CLOSE-WAIT, CLOSING, LAST-ACK: "Remain in the state."
    tcb.flags &= ~TF_FIN_WAITS
    if slot.rcv_adv == tcb.rcv_nxt:
        slot.rcv_adv = tcb.rcv_nxt + 1
    slot.rx_fin = slot.rx_tail
    store32(&slot.flags, (slot.flags | SLOT_FIN_SEEN) & ~SLOT_FIN_EARLY)
    tcb.rcv_nxt += 1
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
