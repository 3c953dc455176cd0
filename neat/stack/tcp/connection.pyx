"""The life of a connection: slot, Tcb and socket object are taken together and given back together."""

from libc.errno cimport ENOSPC
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.abi.channel cimport (
    NEAT_SOCK_TCP, NEAT_ST_CLOSED, NEAT_ST_ERROR, NEAT_ST_RDHUP, NEAT_ST_WRCLOSED, neat_addr, neat_sock,
)
from neat.shm.atomic cimport load64, store32
from neat.shm.ring cimport RECORD_FLOW_DELETE
from neat.stack.channels cimport NO_SOCK, sock_birth, sock_death, sock_release, sock_rx_ring, sock_tx_ring
from neat.stack.config cimport EV_CLOSED, EV_FREED, EV_RDHUP, EV_READABLE, EV_RESET, EV_TAKEN
from neat.stack.counters cimport Counter
from neat.stack.events cimport event_raise
from neat.stack.state cimport SLOT_ACCEPTED, SLOT_HAS_SOCK, SLOT_ORPHAN, SLOT_PASSIVE, ConnSlot
from neat.stack.tcp.deadlines cimport timers_reset, timers_stop
from neat.stack.tcp.lookup cimport lookup_insert, lookup_remove
from neat.stack.tcp.output cimport output_forget
from neat.stack.tcp.plan cimport effective_mss
from neat.stack.tcp.reassembly cimport ooo_end
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.types cimport NO_INDEX, TF_HASHED, TF_KNOWN, Tcb
from neat.stack.types cimport Channel, FlowQueue, FlowRecord, Stack, count, count_add
from neat.wire.flow cimport FlowKey


cdef void flow_record(Stack* stack, const FlowKey* key, uint32_t type) noexcept nogil:
    cdef FlowQueue* queue = &stack.flows
    if queue.tail - queue.head >= queue.capacity:
        count(stack, Counter.FLOW_QUEUE_FULL)
        return
    cdef FlowRecord* record = &queue.records[queue.tail & (queue.capacity - 1)]
    record.key = key[0]
    record.type = type
    queue.tail += 1


cdef Tcb* conn_birth(Stack* stack, const FlowKey* key, uint32_t iss) noexcept nogil:
    index = stack.tcp.first_free
    if index != NO_INDEX:
        stack.tcp.first_free = stack.tcp.tcbs[index].free_next
    elif stack.state.slots_used < stack.config.max_connections:
        index = stack.state.slots_used
    else:
        count(stack, Counter.TCP_TABLE_FULL)
        return NULL
    cdef Tcb* tcb = &stack.tcp.tcbs[index]
    cdef ConnSlot* slot = &stack.slots[index]
    memset(slot, 0, sizeof(ConnSlot))
    memset(tcb, 0, sizeof(Tcb))
    slot.key = key[0]
    slot.iss = iss
    slot.listener = NO_INDEX
    slot.opened_at = stack.now
    slot.snd_max = iss
    if index >= stack.state.slots_used:
        stack.state.slots_used = index + 1
    tcb.slot = slot
    tcb.index = index
    tcb.snd_una = iss
    tcb.snd_nxt = iss
    tcb.snd_small = iss
    tcb.heard_at = stack.now
    tcb.sent_at = stack.now
    tcb.event.event.conn = <int32_t>index
    timers_reset(tcb)
    lookup_insert(&stack.tcp, tcb)
    count_add(stack, Counter.TCP_CONNECTIONS, 1)
    return tcb


cdef void put_address(
    neat_addr* addr, const FlowKey* key, const uint8_t* address, uint16_t port
) noexcept nogil:
    addr.family = key.family
    addr.protocol = key.protocol
    addr.port = port
    memcpy(addr.addr, address, 16)


cdef int conn_take_sock(Stack* stack, Tcb* tcb, Channel* channel) noexcept nogil:
    cdef int32_t index = sock_birth(channel, NO_SOCK, NEAT_SOCK_TCP, <int32_t>tcb.index)
    if index < 0:
        count(stack, Counter.TCP_NO_SOCK)
        return -ENOSPC
    cdef ConnSlot* slot = tcb.slot
    cdef neat_sock* sock = &channel.socks[index]
    slot.app = channel.app
    slot.sock = index
    slot.generation = channel.owners[index].generation
    slot.flags |= SLOT_HAS_SOCK
    tcb.channel = channel
    tcb.sock = sock
    tcb.rx_ring = sock_rx_ring(channel, index)
    tcb.tx_ring = sock_tx_ring(channel, index)
    tcb.rx_size = channel.rx_size
    tcb.tx_size = channel.tx_size
    tcb.event.event.app = slot.app
    tcb.event.event.sock = slot.sock
    tcb.event.event.generation = slot.generation
    sock.tcp_state = <uint8_t>slot.state
    put_address(&sock.local, &slot.key, slot.key.local, slot.key.local_port)
    put_address(&sock.remote, &slot.key, slot.key.remote, slot.key.remote_port)
    return 0


cdef void conn_set_state(Tcb* tcb, uint32_t state) noexcept nogil:
    store32(&tcb.slot.state, state)
    if tcb.sock != NULL:
        tcb.sock.tcp_state = <uint8_t>state


cdef void conn_status(Tcb* tcb, uint32_t bits) noexcept nogil:
    tcb.status |= bits
    if tcb.sock != NULL:
        store32(&tcb.sock.status, tcb.status)


cdef void conn_event(Stack* stack, Tcb* tcb, uint32_t kinds) noexcept nogil:
    if tcb.slot.flags & SLOT_ORPHAN or tcb.sock == NULL:
        return
    tcb.flags |= TF_KNOWN
    event_raise(&stack.events, &tcb.event, kinds)


cdef uint32_t conn_ready(Tcb* tcb) noexcept nogil:
    cdef uint32_t kinds = 0
    if tcb.slot.rx_tail != load64(&tcb.sock.rx_head):
        kinds |= EV_READABLE
    if tcb.status & NEAT_ST_RDHUP:
        kinds |= EV_READABLE | EV_RDHUP
    if tcb.status & NEAT_ST_ERROR:
        kinds |= EV_RESET
    elif tcb.status & NEAT_ST_CLOSED:
        kinds |= EV_CLOSED
    return kinds


cdef void conn_taken(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.slot.flags & (SLOT_PASSIVE | SLOT_ACCEPTED) == SLOT_PASSIVE:
        conn_leave_backlog(stack, tcb)
        conn_event(stack, tcb, EV_TAKEN)


cdef void conn_leave_backlog(Stack* stack, Tcb* tcb) noexcept nogil:
    slot = tcb.slot
    if slot.flags & SLOT_PASSIVE and not slot.flags & SLOT_ACCEPTED:
        slot.flags |= SLOT_ACCEPTED
        stack.tcp.listeners[slot.listener].pending -= 1


cdef void conn_over(Stack* stack, Tcb* tcb, int32_t error, bint keep_flow) noexcept nogil:
    slot = tcb.slot
    if tcb.flags & TF_HASHED:
        lookup_remove(&stack.tcp, tcb)
        if not keep_flow:
            flow_record(stack, &slot.key, RECORD_FLOW_DELETE)
    timers_stop(&stack.tcp, tcb)
    output_forget(stack, tcb)
    tcb.ack_owed = 0
    if slot.flags & SLOT_ORPHAN or tcb.sock == NULL:
        conn_free(stack, tcb)
        return
    slot.error = <uint16_t>error
    conn_set_state(tcb, TcpState.TIME_WAIT if keep_flow else TcpState.CLOSED)
    conn_publish(tcb)
    if error:
        tcb.errors += 1
        tcb.sock.error = <uint32_t>error
        store32(&tcb.sock.error_count, tcb.errors)
        tcb.event.event.error = error
        conn_status(tcb, NEAT_ST_ERROR | NEAT_ST_CLOSED | NEAT_ST_RDHUP | NEAT_ST_WRCLOSED)
        conn_event(stack, tcb, EV_RESET)
    else:
        conn_status(tcb, NEAT_ST_CLOSED | NEAT_ST_RDHUP | NEAT_ST_WRCLOSED)
        conn_event(stack, tcb, EV_CLOSED)


cdef uint64_t received(Tcb* tcb) noexcept nogil:
    """How much of the receive ring was ever written to: beyond rx_tail there may be text out of order."""
    return tcb.slot.rx_tail + (ooo_end(tcb) - tcb.rcv_nxt)


cdef void conn_free(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef ConnSlot* slot = tcb.slot
    store32(&slot.state, TcpState.FREE)
    conn_leave_backlog(stack, tcb)
    if tcb.flags & TF_HASHED:
        lookup_remove(&stack.tcp, tcb)
        flow_record(stack, &slot.key, RECORD_FLOW_DELETE)
    timers_stop(&stack.tcp, tcb)
    output_forget(stack, tcb)
    cdef Channel* channel = <Channel*>tcb.channel
    cdef uint64_t sent = slot.tx_head
    if channel != NULL:
        # What the application had queued, too; whatever it says, no more than the ring is given back.
        sent = max(sent, load64(&tcb.sock.tx_tail))
        tcb.sock.tcp_state = TcpState.CLOSED
        sock_death(channel, slot.sock)
        tcb.sock = NULL
    count_add(stack, Counter.TCP_CONNECTIONS, -1)
    if tcb.flags & TF_KNOWN:
        tcb.event.event.touched = <uint32_t>min(max(received(tcb), sent), max(tcb.rx_size, tcb.tx_size))
        event_raise(&stack.events, &tcb.event, EV_FREED)
    else:
        conn_release(stack, tcb)


cdef void conn_release(Stack* stack, Tcb* tcb) noexcept nogil:
    channel = <Channel*>tcb.channel
    if channel != NULL:
        sock_release(channel, tcb.slot.sock)
        tcb.channel = NULL
    tcb.free_next = stack.tcp.first_free
    stack.tcp.first_free = tcb.index


cdef void conn_publish(Tcb* tcb) noexcept nogil:
    cdef neat_sock* sock = tcb.sock
    if sock == NULL:
        return
    sock.rtt_us = tcb.srtt_us
    sock.rttvar_us = tcb.rttvar_us
    sock.cwnd = tcb.cwnd
    sock.snd_mss = effective_mss(tcb)  # without options, as Linux says it
    sock.retransmits = tcb.retransmits
    sock.rto_us = tcb.rto_us
    sock.snd_wnd = tcb.slot.snd_wnd
    sock.ssthresh = tcb.ssthresh
