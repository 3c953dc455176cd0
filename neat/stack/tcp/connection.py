"""The life of a connection: slot, Tcb and socket object are taken together and given back together."""

import cython
from cython.cimports.libc.errno import ENOSPC
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.neat.stack.tcp.output import output_forget


def flow_record(stack, key, type):
    queue = cython.address(stack.flows)
    if queue.tail - queue.head >= queue.capacity:
        count(stack, Counter.FLOW_QUEUE_FULL)
        return
    record = cython.address(queue.records[queue.tail & (queue.capacity - 1)])
    record.key = key[0]
    record.type = type
    queue.tail += 1


def conn_birth(stack, key, iss):
    index = stack.tcp.first_free
    if index == NO_INDEX:
        count(stack, Counter.TCP_TABLE_FULL)
        return cython.NULL
    tcb = cython.address(stack.tcp.tcbs[index])
    stack.tcp.first_free = tcb.free_next
    slot = cython.address(stack.slots[index])
    memset(slot, 0, cython.sizeof(ConnSlot))
    memset(tcb, 0, cython.sizeof(Tcb))
    slot.key = key[0]
    slot.iss = iss
    slot.listener = NO_INDEX
    slot.opened_at = stack.now
    tcb.slot = slot
    tcb.index = index
    tcb.snd_una = iss
    tcb.snd_nxt = iss
    tcb.snd_max = iss
    tcb.snd_small = iss
    tcb.heard_at = stack.now
    tcb.sent_at = stack.now
    tcb.event.event.conn = cython.cast(int32_t, index)
    timers_reset(tcb)
    lookup_insert(cython.address(stack.tcp), tcb)
    count_add(stack, Counter.TCP_CONNECTIONS, 1)
    return tcb


def put_address(addr, key, address, port):
    addr.family = key.family
    addr.protocol = key.protocol
    addr.port = port
    memcpy(addr.addr, address, 16)


def conn_take_sock(stack, tcb, channel):
    index = sock_birth(channel, NO_SOCK, NEAT_SOCK_TCP, cython.cast(int32_t, tcb.index))
    if index < 0:
        count(stack, Counter.TCP_NO_SOCK)
        return -ENOSPC
    slot = tcb.slot
    sock = cython.address(channel.socks[index])
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
    sock.tcp_state = cython.cast(uint8_t, slot.state)
    put_address(cython.address(sock.local), cython.address(slot.key), slot.key.local, slot.key.local_port)
    put_address(cython.address(sock.remote), cython.address(slot.key), slot.key.remote, slot.key.remote_port)
    return 0


def conn_set_state(tcb, state):
    store32(cython.address(tcb.slot.state), state)
    if tcb.sock != cython.NULL:
        tcb.sock.tcp_state = cython.cast(uint8_t, state)


def conn_status(tcb, bits):
    tcb.status |= bits
    if tcb.sock != cython.NULL:
        store32(cython.address(tcb.sock.status), tcb.status)


def conn_event(stack, tcb, kinds):
    if tcb.slot.flags & SLOT_ORPHAN or tcb.sock == cython.NULL:
        return
    tcb.flags |= TF_KNOWN
    event_raise(cython.address(stack.events), cython.address(tcb.event), kinds)


def conn_ready(tcb):
    kinds = 0
    if tcb.slot.rx_tail != load64(cython.address(tcb.sock.rx_head)):
        kinds |= EV_READABLE
    if tcb.status & NEAT_ST_RDHUP:
        kinds |= EV_READABLE | EV_RDHUP
    if tcb.status & NEAT_ST_ERROR:
        kinds |= EV_RESET
    elif tcb.status & NEAT_ST_CLOSED:
        kinds |= EV_CLOSED
    return kinds


def conn_taken(stack, tcb):
    if tcb.slot.flags & (SLOT_PASSIVE | SLOT_ACCEPTED) == SLOT_PASSIVE:
        conn_leave_backlog(stack, tcb)
        conn_event(stack, tcb, EV_TAKEN)


def conn_leave_backlog(stack, tcb):
    slot = tcb.slot
    if slot.flags & SLOT_PASSIVE and not slot.flags & SLOT_ACCEPTED:
        slot.flags |= SLOT_ACCEPTED
        stack.tcp.listeners[slot.listener].pending -= 1


def conn_over(stack, tcb, error, keep_flow):
    slot = tcb.slot
    if tcb.flags & TF_HASHED:
        lookup_remove(cython.address(stack.tcp), tcb)
        if not keep_flow:
            flow_record(stack, cython.address(slot.key), RECORD_FLOW_DELETE)
    timers_stop(cython.address(stack.tcp), tcb)
    output_forget(stack, tcb)
    tcb.ack_owed = 0
    if slot.flags & SLOT_ORPHAN or tcb.sock == cython.NULL:
        conn_free(stack, tcb)
        return
    conn_set_state(tcb, TcpState.TIME_WAIT if keep_flow else TcpState.CLOSED)
    conn_publish(tcb)
    if error:
        tcb.errors += 1
        tcb.sock.error = cython.cast(uint32_t, error)
        store32(cython.address(tcb.sock.error_count), tcb.errors)
        tcb.event.event.error = error
        conn_status(tcb, NEAT_ST_ERROR | NEAT_ST_CLOSED | NEAT_ST_RDHUP | NEAT_ST_WRCLOSED)
        conn_event(stack, tcb, EV_RESET)
    else:
        conn_status(tcb, NEAT_ST_CLOSED | NEAT_ST_RDHUP | NEAT_ST_WRCLOSED)
        conn_event(stack, tcb, EV_CLOSED)


def received(tcb):
    """How much of the receive ring was ever written to: beyond rx_tail there may be text out of order."""
    if tcb.ooo_count == 0:
        return tcb.slot.rx_tail
    return tcb.slot.rx_tail + (tcb.ooo[tcb.ooo_count - 1].end - tcb.rcv_nxt)


def conn_free(stack, tcb):
    slot = tcb.slot
    store32(cython.address(slot.state), TcpState.FREE)
    conn_leave_backlog(stack, tcb)
    if tcb.flags & TF_HASHED:
        lookup_remove(cython.address(stack.tcp), tcb)
        flow_record(stack, cython.address(slot.key), RECORD_FLOW_DELETE)
    timers_stop(cython.address(stack.tcp), tcb)
    output_forget(stack, tcb)
    channel = cython.cast(cython.pointer(Channel), tcb.channel)
    sent = slot.tx_head
    if channel != cython.NULL:
        # What the application had queued, too; whatever it says, no more than the ring is given back.
        sent = max(sent, load64(cython.address(tcb.sock.tx_tail)))
        tcb.sock.tcp_state = TcpState.CLOSED
        sock_death(channel, slot.sock)
        tcb.sock = cython.NULL
    count_add(stack, Counter.TCP_CONNECTIONS, -1)
    if tcb.flags & TF_KNOWN:
        tcb.event.event.touched = cython.cast(
            uint32_t, min(max(received(tcb), sent), max(tcb.rx_size, tcb.tx_size))
        )
        event_raise(cython.address(stack.events), cython.address(tcb.event), EV_FREED)
    else:
        conn_release(stack, tcb)


def conn_release(stack, tcb):
    channel = cython.cast(cython.pointer(Channel), tcb.channel)
    if channel != cython.NULL:
        sock_release(channel, tcb.slot.sock)
        tcb.channel = cython.NULL
    tcb.free_next = stack.tcp.first_free
    stack.tcp.first_free = tcb.index


def conn_publish(tcb):
    sock = tcb.sock
    if sock == cython.NULL:
        return
    sock.rtt_us = tcb.srtt_us
    sock.rttvar_us = tcb.rttvar_us
    sock.cwnd = tcb.cwnd
    sock.snd_mss = effective_mss(tcb)  # without options, as Linux says it
    sock.retransmits = tcb.retransmits
    sock.rto_us = tcb.rto_us
    sock.snd_wnd = tcb.slot.snd_wnd
    sock.ssthresh = tcb.ssthresh
