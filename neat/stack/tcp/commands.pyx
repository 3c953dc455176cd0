"""What the application asks of a connection: its lines of the socket object, checked before they are used."""

from libc.errno cimport ECONNABORTED
from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport (
    NEAT_OPT_KEEPALIVE, NEAT_OPT_LINGER, NEAT_REQ_ABORT, NEAT_REQ_ACCEPTED, NEAT_REQ_CLOSE, NEAT_REQ_NOTIFY,
    NEAT_REQ_SHUT_WR, NEAT_ST_ORPHAN, NEAT_ST_WRCLOSED, neat_sock,
)
from neat.shm.atomic cimport fetch_and32, load32, load64, peek32, store32
from neat.stack.config cimport EV_NOTIFY, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.state cimport SLOT_ABORT, SLOT_FIN_QUEUED, SLOT_ORPHAN, ConnSlot
from neat.stack.tcp.ack cimport is_writable
from neat.stack.tcp.connection cimport (
    conn_event, conn_free, conn_leave_backlog, conn_over, conn_set_state, conn_status, conn_taken,
)
from neat.stack.tcp.keepalive cimport keepalive_is_late, keepalive_start
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.plan cimport has_unsent
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.state cimport TcpState, can_receive, can_transmit
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport TF_ABORT, TF_WAITS_NEIGHBOUR, Tcb
from neat.stack.tcp.window cimport window_worth_update
from neat.stack.types cimport Stack, count

# Take over rx_head and tx_tail. False: nonsense, the connection was reset.
cdef bint take_offsets(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef uint64_t head = load64(&tcb.sock.rx_head)
    cdef uint64_t tail = load64(&tcb.sock.tx_tail)
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


cdef void tcp_command(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef neat_sock* sock = tcb.sock
    if sock == NULL or tcb.slot.flags & SLOT_ORPHAN:
        return
    cdef uint32_t request = load32(&sock.request)
    if request & NEAT_REQ_ACCEPTED:
        conn_taken(stack, tcb)
    if request & NEAT_REQ_CLOSE:
        # The hang-up follows; what is in the ring leaves together with the FIN.
        tcp_close(stack, tcb)
        return
    cdef uint64_t head = tcb.rx_head
    if not take_offsets(stack, tcb):
        return
    if request & NEAT_REQ_NOTIFY:
        fetch_and32(&sock.request, ~NEAT_REQ_NOTIFY)
        conn_event(stack, tcb, EV_NOTIFY | EV_WRITABLE if is_writable(tcb) else EV_NOTIFY)
    if tcb.slot.state == TcpState.CLOSED or tcb.slot.state == TcpState.TIME_WAIT:
        return
    if request & NEAT_REQ_SHUT_WR:
        finish_sending(stack, tcb)
    if peek32(&sock.options) & NEAT_OPT_KEEPALIVE and keepalive_is_late(tcb):
        keepalive_start(stack, tcb)
    if tcb.rx_head != head and can_receive(tcb.slot.state) and window_worth_update(tcb, stack.now):
        owe_ack(tcb)
    if tcb.ack_owed or has_unsent(tcb):
        output_want(stack, tcb)


cdef void finish_sending(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.slot.flags & SLOT_FIN_QUEUED:
        return
    cdef uint32_t state = tcb.slot.state
    tcb.slot.tx_fin = tcb.tx_tail
    store32(&tcb.slot.flags, tcb.slot.flags | SLOT_FIN_QUEUED)
    if state == TcpState.ESTABLISHED:
        conn_set_state(tcb, TcpState.FIN_WAIT_1)
    elif state == TcpState.CLOSE_WAIT:
        conn_set_state(tcb, TcpState.LAST_ACK)
    conn_status(tcb, NEAT_ST_WRCLOSED)
    # As Linux: writable from now on, so that a sender that sleeps wakes up and gets its EPIPE.
    if peek32(&tcb.sock.out_block):
        conn_event(stack, tcb, EV_WRITABLE)
    output_want(stack, tcb)


cdef void tcp_close(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t state = slot.state
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
    if tcb.tx_tail == 0 and tcb.rx_head:
        count(stack, Counter.TCP_SERVED)
    if state == TcpState.FIN_WAIT_2:
        wait_enter(stack, tcb, TcpState.FIN_WAIT_2, tcb.ack_owed != 0 or tcb.unacked != 0)
        return
    finish_sending(stack, tcb)


# Reset it and free it, after what may be sent.
cdef void tcp_abort(Stack* stack, Tcb* tcb) noexcept nogil:
    """Linux sends in send() what may leave then, so what was written before is ahead of the reset, as far as
    windows and Nagle allow. Here it may not have been looked at yet."""
    if not has_unsent(tcb) or not can_transmit(tcb.slot.state) or tcb.flags & TF_WAITS_NEIGHBOUR:
        tcp_drop(stack, tcb)
        return
    store32(&tcb.slot.flags, tcb.slot.flags | SLOT_ORPHAN | SLOT_ABORT)
    tcb.flags |= TF_ABORT
    output_want(stack, tcb)


# Whether close() is to reset it: RFC 9293 §3.10.5, ABORT.
cdef bint wants_reset(Tcb* tcb) noexcept nogil:
    if load32(&tcb.sock.request) & NEAT_REQ_ABORT:
        return True
    # Linux (tcp_close): SO_LINGER without a time, however the last descriptor went.
    return peek32(&tcb.sock.options) & NEAT_OPT_LINGER != 0 and tcb.sock.linger_ms == 0


cdef void tcp_drop(Stack* stack, Tcb* tcb) noexcept nogil:
    state = tcb.slot.state
    if state != TcpState.CLOSED and state != TcpState.TIME_WAIT and state != TcpState.SYN_SENT:
        count(stack, Counter.TCP_ABORTS)
        respond_abort(stack, tcb)
    conn_free(stack, tcb)
