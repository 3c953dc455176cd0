"""What the application asks of a connection: its lines of the socket object, checked before they are used."""

import cython
from cython.cimports.libc.errno import ECONNABORTED


def take_offsets(stack, tcb):
    head = load64(cython.address(tcb.sock.rx_head))
    tail = load64(cython.address(tcb.sock.tx_tail))
    if head < tcb.rx_head or head > tcb.slot.rx_tail:
        count(stack, Counter.TCP_BAD_RX_HEAD)
    elif not tcb.slot.flags & SLOT_FIN_QUEUED and (
        tail < tcb.tx_tail or tail - tcb.slot.tx_head > tcb.tx_size
    ):
        count(stack, Counter.TCP_BAD_TX_TAIL)
    else:
        tcb.rx_head = head
        if not tcb.slot.flags & SLOT_FIN_QUEUED:
            tcb.tx_tail = tail
        return True
    if tcb.slot.state != TcpState.CLOSED and tcb.slot.state != TcpState.TIME_WAIT:
        count(stack, Counter.TCP_ABORTS)
        respond_abort(stack, tcb)
        conn_over(stack, tcb, ECONNABORTED, False)
    return False


def tcp_command(stack, tcb):
    sock = tcb.sock
    if sock == cython.NULL or tcb.slot.flags & SLOT_ORPHAN:
        return
    request = load32(cython.address(sock.request))
    if request & NEAT_REQ_ACCEPTED:
        conn_taken(stack, tcb)
    if request & NEAT_REQ_OFFER:
        fetch_and32(cython.address(sock.request), ~NEAT_REQ_OFFER)
        conn_event(stack, tcb, EV_OFFER)
    if request & NEAT_REQ_CLOSE:
        # The hang-up follows; what is in the ring leaves together with the FIN.
        tcp_close(stack, tcb)
        return
    head = tcb.rx_head
    if not take_offsets(stack, tcb):
        return
    if request & NEAT_REQ_NOTIFY:
        fetch_and32(cython.address(sock.request), ~NEAT_REQ_NOTIFY)
        conn_event(stack, tcb, EV_NOTIFY | EV_WRITABLE if is_writable(tcb) else EV_NOTIFY)
    if tcb.slot.state == TcpState.CLOSED or tcb.slot.state == TcpState.TIME_WAIT:
        return
    if request & NEAT_REQ_SHUT_WR:
        finish_sending(stack, tcb)
    if peek32(cython.address(sock.options)) & NEAT_OPT_KEEPALIVE and keepalive_is_late(tcb):
        keepalive_start(stack, tcb)
    if tcb.rx_head != head and can_receive(tcb.slot.state) and window_worth_update(tcb, stack.now):
        owe_ack(tcb)
    if tcb.ack_owed or has_unsent(tcb):
        output_want(stack, tcb)


def finish_sending(stack, tcb):
    if tcb.slot.flags & SLOT_FIN_QUEUED:
        return
    state = tcb.slot.state
    tcb.slot.tx_fin = tcb.tx_tail
    store32(cython.address(tcb.slot.flags), tcb.slot.flags | SLOT_FIN_QUEUED)
    if state == TcpState.ESTABLISHED:
        conn_set_state(tcb, TcpState.FIN_WAIT_1)
    elif state == TcpState.CLOSE_WAIT:
        conn_set_state(tcb, TcpState.LAST_ACK)
    conn_status(tcb, NEAT_ST_WRCLOSED)
    # As Linux: writable from now on, so that a sender that sleeps wakes up and gets its EPIPE.
    if peek32(cython.address(tcb.sock.out_block)):
        conn_event(stack, tcb, EV_WRITABLE)
    output_want(stack, tcb)


def tcp_close(stack, tcb):
    slot = tcb.slot
    state = slot.state
    conn_leave_backlog(stack, tcb)
    if slot.flags & SLOT_ORPHAN:
        return
    if state == TcpState.CLOSED or state == TcpState.TIME_WAIT or state == TcpState.SYN_SENT:
        conn_free(stack, tcb)
        return
    if not take_offsets(stack, tcb):
        conn_free(stack, tcb)
        return
    conn_status(tcb, NEAT_ST_ORPHAN)
    if slot.rx_tail > tcb.rx_head or wants_reset(tcb):
        # RFC 9293 §3.6: "If such a host issues a CLOSE call while received data is still pending in TCP,
        # [...] send a RST"
        tcp_abort(stack, tcb)
        return
    slot.flags |= SLOT_ORPHAN
    if state == TcpState.FIN_WAIT_2:
        wait_enter(stack, tcb, TcpState.FIN_WAIT_2, tcb.ack_owed != 0 or tcb.unacked != 0)
        return
    finish_sending(stack, tcb)


def tcp_abort(stack, tcb):
    """Linux sends in send() what may leave then, so what was written before is ahead of the reset, as far as
    windows and Nagle allow. Here it may not have been looked at yet."""
    if not has_unsent(tcb) or not can_transmit(tcb.slot.state) or tcb.flags & TF_WAITS_NEIGHBOUR:
        tcp_drop(stack, tcb)
        return
    tcb.slot.flags |= SLOT_ORPHAN
    tcb.flags |= TF_ABORT
    output_want(stack, tcb)


def wants_reset(tcb):
    if load32(cython.address(tcb.sock.request)) & NEAT_REQ_ABORT:
        return True
    # Linux (tcp_close): SO_LINGER without a time, however the last descriptor went.
    return peek32(cython.address(tcb.sock.options)) & NEAT_OPT_LINGER != 0 and tcb.sock.linger_ms == 0


def tcp_drop(stack, tcb):
    state = tcb.slot.state
    if state != TcpState.CLOSED and state != TcpState.TIME_WAIT and state != TcpState.SYN_SENT:
        count(stack, Counter.TCP_ABORTS)
        respond_abort(stack, tcb)
    conn_free(stack, tcb)
