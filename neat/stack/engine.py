"""The protocol engine's public face: what the replica process and the tests call."""

import cython
from cython.cimports.libc.errno import ENOENT
from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.neat.abi.channel import NEAT_SOCK_LISTENER, NEAT_SOCK_TCP, NEAT_SOCK_UDP
from cython.cimports.neat.shm.ring import RECORD_FRAME
from cython.cimports.neat.stack.channels import (
    channel_attach,
    channel_forget,
    channel_next_dirty,
    channel_of,
    channel_pending,
)
from cython.cimports.neat.stack.counters import Counter
from cython.cimports.neat.stack.events import event_take
from cython.cimports.neat.stack.ipv4 import ipv4_create, ipv4_destroy, ipv4_input
from cython.cimports.neat.stack.neighbour import neighbour_expire, neighbour_next_deadline, neighbour_poll
from cython.cimports.neat.stack.reply import reply_poll
from cython.cimports.neat.stack.state import (
    SLOT_ACCEPTED,
    SLOT_PASSIVE,
    SUSPECT_COMMAND,
    SUSPECT_FRAME,
    SUSPECT_NONE,
    SUSPECT_TIMER,
    SUSPECT_TRANSMIT,
    ConnSlot,
    ListenerSlot,
    NeighbourSlot,
    StateHeader,
    UdpSlot,
    state_attach,
    state_bytes,
)
from cython.cimports.neat.stack.tcp.commands import tcp_close, tcp_command
from cython.cimports.neat.stack.tcp.connection import conn_ready, conn_release, put_address
from cython.cimports.neat.stack.tcp.listen import listen_backlog, listen_close, listen_defer, listen_open
from cython.cimports.neat.stack.tcp.output import tcp_poll
from cython.cimports.neat.stack.tcp.ports import ports_share
from cython.cimports.neat.stack.tcp.state import TcpState
from cython.cimports.neat.stack.tcp.synsent import connect_open
from cython.cimports.neat.stack.tcp.tables import tcp_create, tcp_destroy, tcp_detach
from cython.cimports.neat.stack.tcp.timers import tcp_expire, tcp_next_deadline
from cython.cimports.neat.stack.tcp.timewait import wait_expire, wait_next_deadline
from cython.cimports.neat.stack.tcp.types import NO_INDEX
from cython.cimports.neat.stack.types import REPLY_SLOTS, FlowRecord, Reply, count
from cython.cimports.neat.stack.udp import (
    udp_bind,
    udp_command,
    udp_create,
    udp_destroy,
    udp_detach,
    udp_unbind,
)
from cython.cimports.neat.stack.udp_output import udp_poll


def stack_state_bytes(config):
    return state_bytes(config)


def stack_create(config, state, state_bytes, now):
    header = cython.cast(cython.pointer(StateHeader), state)
    if (
        state == cython.NULL
        or config.max_connections == 0
        or config.max_connections > 1 << 20
        or config.mtu < 576
        or config.replica >= config.replicas
        or config.port_low == 0
        or config.port_high < config.port_low
        or state_attach(header, state_bytes, config) < 0
    ):
        return cython.NULL
    stack = cython.cast(cython.pointer(Stack), calloc(1, cython.sizeof(Stack)))
    if stack == cython.NULL:
        return cython.NULL
    base = cython.cast(cython.pointer(uint8_t), state)
    stack.config = config[0]
    stack.now = now
    stack.counters = stack.own_counters
    stack.state = header
    stack.slots = cython.cast(cython.pointer(ConnSlot), base + header.connections)
    stack.listeners = cython.cast(cython.pointer(ListenerSlot), base + header.listeners)
    stack.udp_slots = cython.cast(cython.pointer(UdpSlot), base + header.udp)
    stack.neighbours = cython.cast(cython.pointer(NeighbourSlot), base + header.neighbours)
    stack.replies.slots = cython.cast(cython.pointer(Reply), calloc(REPLY_SLOTS, cython.sizeof(Reply)))
    stack.flows.capacity = 1024
    while stack.flows.capacity < 2 * config.max_connections:
        stack.flows.capacity *= 2
    stack.flows.records = cython.cast(
        cython.pointer(FlowRecord), calloc(stack.flows.capacity, cython.sizeof(FlowRecord))
    )
    if (
        stack.replies.slots == cython.NULL
        or stack.flows.records == cython.NULL
        or tcp_create(stack) < 0
        or ipv4_create(stack) < 0
        or udp_create(stack) < 0
    ):
        stack_destroy(stack)
        return cython.NULL
    return stack


def stack_destroy(stack):
    for i in range(CHANNELS):
        if stack.channels[i] != cython.NULL:
            channel_forget(stack, stack.channels[i])
    udp_destroy(stack)
    ipv4_destroy(stack)
    tcp_destroy(stack)
    free(stack.flows.records)
    free(stack.replies.slots)
    free(stack)


def suspect_is(stack, kind, position, length):
    """Note what is being processed: its successor learns what it died of."""
    suspect = cython.address(stack.state.suspect)
    suspect.length = length
    suspect.position = position
    suspect.at = stack.now
    suspect.conn = NO_INDEX
    suspect.kind = kind


def stack_frame_arrives(stack, record, length, now):
    stack.now = now
    suspect_is(stack, SUSPECT_FRAME, stack.state.frames, length)
    stack.state.frames += 1
    ipv4_input(stack, record, length)
    stack.state.suspect.kind = SUSPECT_NONE


def stack_own_frame_arrives(stack, record, length, now):
    stack.ip.own_frame = True
    stack_frame_arrives(stack, record, length, now)
    stack.ip.own_frame = False


def poll_control(stack, buffer, record_type):
    """What goes before all text: control records, replies, requests for neighbours."""
    flows = cython.address(stack.flows)
    if flows.head != flows.tail:
        record = cython.address(flows.records[flows.head & (flows.capacity - 1)])
        flows.head += 1
        memcpy(buffer, cython.address(record.key), cython.sizeof(FlowKey))
        record_type[0] = cython.cast(uint16_t, record.type)
        return cython.sizeof(FlowKey)
    record_type[0] = RECORD_FRAME
    length = reply_poll(stack, buffer)
    return length if length else neighbour_poll(stack, buffer)


def stack_poll_transmit(stack, buffer, record_type, now):
    """Control, then TCP in turns, then UDP; and control again, for which these may have found a reason."""
    stack.now = now
    suspect_is(stack, SUSPECT_TRANSMIT, 0, 0)
    length = poll_control(stack, buffer, record_type)
    if length == 0:
        length = tcp_poll(stack, buffer)
    if length == 0:
        length = udp_poll(stack, buffer)
    if length == 0:
        length = poll_control(stack, buffer, record_type)
    stack.state.suspect.kind = SUSPECT_NONE
    return length


def stack_poll_event(stack, event):
    node = event_take(cython.address(stack.events), event)
    if node == cython.NULL:
        return False
    if event.kinds & EV_FREED and event.conn >= 0:
        conn_release(stack, cython.address(stack.tcp.tcbs[event.conn]))
    return True


def stack_expire(stack, now):
    stack.now = now
    suspect_is(stack, SUSPECT_TIMER, 0, 0)
    tcp_expire(stack)
    wait_expire(stack)
    neighbour_expire(stack)
    stack.state.suspect.kind = SUSPECT_NONE


def stack_next_deadline(stack):
    return min(min(tcp_next_deadline(stack), wait_next_deadline(stack)), neighbour_next_deadline(stack))


def stack_channel_attach(stack, app, memory, nsock, rx_size, tx_size):
    return channel_attach(stack, app, memory, nsock, rx_size, tx_size)


def stack_channel_detach(stack, app):
    channel = channel_of(stack, app)
    if channel != cython.NULL:
        tcp_detach(stack, channel)
        udp_detach(stack, channel)
        channel_forget(stack, channel)


def stack_channel_users(stack, app):
    channel = channel_of(stack, app)
    return channel.users if channel != cython.NULL else 0


def stack_channel_pending(stack, app):
    channel = channel_of(stack, app)
    return channel != cython.NULL and channel_pending(channel)


def stack_scan_channel(stack, app, budget, now):
    stack.now = now
    channel = channel_of(stack, app)
    if channel == cython.NULL:
        return 0
    done = cython.cast(uint32_t, 0)
    while done < budget:
        index = channel_next_dirty(channel)
        if index < 0:
            break
        done += 1
        who = cython.address(channel.owners[index])
        suspect_is(
            stack, SUSPECT_COMMAND, (cython.cast(uint64_t, app) << 32) | cython.cast(uint32_t, index), 0
        )
        if who.kind == NEAT_SOCK_TCP:
            stack.state.suspect.conn = who.owner
            tcp_command(stack, cython.address(stack.tcp.tcbs[who.owner]))
        elif who.kind == NEAT_SOCK_UDP:
            udp_command(stack, channel, index, cython.address(channel.socks[index]))
        elif who.kind != NEAT_SOCK_LISTENER:
            count(stack, Counter.CHANNEL_BAD_BIT)
    stack.state.suspect.kind = SUSPECT_NONE
    return done


def stack_sock(stack, app, sock):
    channel = channel_of(stack, app)
    if channel == cython.NULL or sock >= channel.nsock:
        return cython.NULL
    return cython.address(channel.socks[sock])


def stack_listen(stack, app, sock, local, backlog, flags):
    return listen_open(stack, app, sock, local, backlog, flags)


def stack_set_backlog(stack, app, sock, backlog):
    return listen_backlog(stack, app, sock, backlog)


def stack_set_defer(stack, app, sock, seconds):
    return listen_defer(stack, app, sock, seconds)


def stack_unlisten(stack, app, sock, now):
    stack.now = now
    return listen_close(stack, app, sock)


def stack_connect(stack, app, local, remote, wishes, now):
    stack.now = now
    return connect_open(stack, app, local, remote, wishes)


def stack_share_ports(stack, rank, replicas, held):
    return ports_share(stack, rank, replicas, held)


def stack_udp_bind(stack, app, sock, local, flags):
    return udp_bind(stack, app, sock, local, flags)


def stack_udp_unbind(stack, app, sock):
    return udp_unbind(stack, app, sock)


def stack_close(stack, conn, now):
    stack.now = now
    if conn < 0 or cython.cast(uint32_t, conn) >= stack.config.max_connections:
        return
    if stack.slots[conn].state != TcpState.FREE:
        tcp_close(stack, cython.address(stack.tcp.tcbs[conn]))


def stack_conn_info(stack, conn, info):
    if conn < 0 or cython.cast(uint32_t, conn) >= stack.config.max_connections:
        return -ENOENT
    slot = cython.address(stack.slots[conn])
    tcb = cython.address(stack.tcp.tcbs[conn])
    if slot.state == TcpState.FREE:
        return -ENOENT
    memset(info, 0, cython.sizeof(ConnInfo))
    info.app = slot.app
    info.sock = slot.sock
    info.generation = slot.generation
    info.state = cython.cast(uint8_t, slot.state)
    info.passive = 1 if slot.flags & SLOT_PASSIVE else 0
    info.accepted = 1 if slot.flags & SLOT_ACCEPTED else 0
    put_address(cython.address(info.local), cython.address(slot.key), slot.key.local, slot.key.local_port)
    put_address(cython.address(info.remote), cython.address(slot.key), slot.key.remote, slot.key.remote_port)
    info.iss = slot.iss
    info.irs = slot.irs
    info.snd_una = tcb.snd_una
    info.snd_nxt = tcb.snd_nxt
    info.rcv_nxt = tcb.rcv_nxt
    info.snd_wnd = slot.snd_wnd
    info.rcv_wnd = slot.rcv_adv - tcb.rcv_nxt
    info.cwnd = tcb.cwnd
    info.ssthresh = tcb.ssthresh
    info.mss = slot.snd_mss
    info.srtt_us = tcb.srtt_us
    info.rto_us = tcb.rto_us
    info.retransmits = tcb.retransmits
    return 0


def stack_conn_ready(stack, conn):
    if conn < 0 or cython.cast(uint32_t, conn) >= stack.config.max_connections:
        return 0
    tcb = cython.address(stack.tcp.tcbs[conn])
    return 0 if tcb.slot == cython.NULL or tcb.sock == cython.NULL else conn_ready(tcb)


def stack_waiting_info(stack, start, info):
    at = start
    while at < stack.tcp.wait_fresh:
        wait = cython.address(stack.tcp.waits[at])
        at += 1
        if wait.state == TcpState.FREE:
            continue
        memset(info, 0, cython.sizeof(ConnInfo))
        info.state = cython.cast(uint8_t, wait.state)
        put_address(cython.address(info.local), cython.address(wait.key), wait.key.local, wait.key.local_port)
        put_address(
            cython.address(info.remote), cython.address(wait.key), wait.key.remote, wait.key.remote_port
        )
        info.snd_nxt = wait.snd_nxt
        info.snd_una = wait.snd_nxt
        info.rcv_nxt = wait.rcv_nxt
        info.rcv_wnd = wait.rcv_wnd
        return at
    return 0


def stack_counters(stack):
    return stack.counters


def stack_use_counters(stack, counters):
    memcpy(counters, stack.counters, Counter.COUNTER_COUNT * 8)
    stack.counters = counters
