"""What a successor says to applications, peers and driver, as they may not have heard it."""

from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport NEAT_REQ_ACCEPTED, NEAT_ST_CONNECTED
from neat.shm.atomic cimport load32, store32
from neat.shm.ring cimport RECORD_FLOW_ADD
from neat.stack.config cimport EV_ACCEPT, EV_CONNECTED, EV_TAKEN, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.state cimport (
    SLOT_ABORT, SLOT_ACCEPTED, SLOT_FIN_ACKED, SLOT_FIN_SEEN, SLOT_ORPHAN, SLOT_PASSIVE, SUSPECT_COMMAND,
    SUSPECT_NONE, ConnSlot,
)
from neat.stack.tcp.ack cimport is_writable
from neat.stack.tcp.commands cimport finish_sending, tcp_command
from neat.stack.tcp.connection cimport conn_event, conn_free, conn_over, conn_ready, flow_record
from neat.stack.tcp.keepalive cimport keepalive_start
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.state cimport TcpState, is_opening, is_over
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.timewait cimport wait_enter
from neat.stack.tcp.types cimport TF_ABORT, TF_DEFERRED, TF_RESUMED, Tcb
from neat.stack.tcp.window cimport window_publish
from neat.stack.types cimport Stack, count


cdef void tcp_recover_speak(Stack* stack) noexcept nogil:
    cdef uint32_t i
    cdef ConnSlot* slot
    for i in range(stack.state.slots_used):
        slot = &stack.slots[i]
        if slot.state == TcpState.FREE:
            continue
        stack.state.suspect.position = <uint64_t>slot.app << 32 | slot.sock
        stack.state.suspect.conn = i
        store32(&stack.state.suspect.kind, SUSPECT_COMMAND)
        if slot.flags & SLOT_ORPHAN:
            finish_close(stack, &stack.tcp.tcbs[i])
        else:
            finish_stream(stack, &stack.tcp.tcbs[i])
            tell_application(stack, &stack.tcp.tcbs[i])
        if slot.state != TcpState.FREE and not is_over(slot.state):
            tell_network(stack, &stack.tcp.tcbs[i])
        store32(&stack.state.suspect.kind, SUSPECT_NONE)


cdef bint finish_stream(Stack* stack, Tcb* tcb) noexcept nogil:
    """Both directions are over: take the step that leads out of the state. True: taken."""
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t both = SLOT_FIN_ACKED | SLOT_FIN_SEEN
    if slot.flags & both != both or is_over(slot.state):
        return False
    if slot.state == TcpState.LAST_ACK:
        count(stack, Counter.TCP_CLOSED)
        conn_over(stack, tcb, 0, False)
    else:
        wait_enter(stack, tcb, TcpState.TIME_WAIT, True)
    return True


cdef void finish_close(Stack* stack, Tcb* tcb) noexcept nogil:
    """Its last descriptor is closed; the close may have been interrupted behind the flag that says so."""
    cdef ConnSlot* slot = tcb.slot
    if is_over(slot.state) or slot.state == TcpState.SYN_SENT:
        conn_free(stack, tcb)
    elif finish_stream(stack, tcb):
        return
    elif slot.flags & SLOT_ABORT:
        tcb.flags |= TF_ABORT
    elif slot.state == TcpState.FIN_WAIT_2:
        wait_enter(stack, tcb, TcpState.FIN_WAIT_2, True)
    else:
        finish_sending(stack, tcb)


cdef void tell_application(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    cdef uint32_t kinds
    if slot.state == TcpState.FREE or tcb.sock == NULL:
        return
    kinds = conn_ready(tcb)
    if tcb.status & NEAT_ST_CONNECTED and is_writable(tcb):
        kinds |= EV_WRITABLE
    if not slot.flags & SLOT_PASSIVE:
        kinds |= EV_CONNECTED if tcb.status & NEAT_ST_CONNECTED else 0
    elif load32(&tcb.sock.request) & NEAT_REQ_ACCEPTED:
        kinds |= EV_TAKEN
    elif not slot.flags & SLOT_ACCEPTED:
        kinds |= EV_ACCEPT
    if kinds:
        conn_event(stack, tcb, kinds)
    tcp_command(stack, tcb)


cdef void tell_network(Stack* stack, Tcb* tcb) noexcept nogil:
    """What was outstanding leaves again, and an ACK of all that came: neither may have left."""
    flow_record(stack, &tcb.slot.key, RECORD_FLOW_ADD)
    if not is_opening(tcb.slot.state):
        tcb.flags |= TF_RESUMED
        owe_ack(tcb)
        window_publish(tcb)
        keepalive_start(stack, tcb)
    if not tcb.flags & TF_DEFERRED:
        output_want(stack, tcb)
