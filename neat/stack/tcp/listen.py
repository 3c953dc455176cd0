"""Listening sockets, and what arrives for them. The backlog is real."""

import cython
from cython.cimports.libc.errno import EADDRINUSE, EAFNOSUPPORT, EINVAL, ENOBUFS, ENOENT, ENOMEM, ESRCH
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.stdlib import calloc
from cython.cimports.libc.string import memcmp
from cython.cimports.neat.wire.flow import FAMILY_IPV4

ANY = cython.declare(uint8_t[16])


def listen_create(stack):
    stack.tcp.listeners = cython.cast(
        cython.pointer(Listener), calloc(stack.config.max_listeners, cython.sizeof(Listener))
    )
    if stack.tcp.listeners == cython.NULL:
        return -ENOMEM
    for i in range(cython.cast(cython.int, LISTENER_BUCKETS)):
        stack.tcp.listener_buckets[i] = NO_INDEX
    return 0


def conflicts(stack, local, flags):
    """Does another listener have this address and port? Not if both said SO_REUSEPORT."""
    for i in range(stack.config.max_listeners):
        slot = cython.address(stack.listeners[i])
        if not slot.used or slot.port != local.port or slot.flags & flags & NEAT_BIND_REUSEPORT:
            continue
        same = memcmp(slot.address, local.addr, 16) == 0
        if same or memcmp(slot.address, ANY, 16) == 0 or memcmp(local.addr, ANY, 16) == 0:
            return True
    return False


def listener_of(stack, app, sock):
    for i in range(stack.config.max_listeners):
        slot = cython.address(stack.listeners[i])
        if slot.used and slot.app == app and slot.sock == sock:
            return i
    return NO_INDEX


def listen_open(stack, app, sock, local, backlog, flags):
    if local.family not in (0, FAMILY_IPV4):
        return -EAFNOSUPPORT
    if local.port == 0 or sock == NO_SOCK:
        return -EINVAL
    channel = channel_of(stack, app)
    if channel == cython.NULL:
        return -ESRCH
    if conflicts(stack, local, flags):
        return -EADDRINUSE
    index = cython.cast(uint32_t, 0)
    while index < stack.config.max_listeners and stack.listeners[index].used:
        index += 1
    if index == stack.config.max_listeners:
        return -ENOBUFS
    born = sock_birth(channel, sock, NEAT_SOCK_LISTENER, cython.cast(int32_t, index))
    if born < 0:
        return born
    slot = cython.address(stack.listeners[index])
    memset(slot, 0, cython.sizeof(ListenerSlot))
    slot.app = app
    slot.sock = sock
    slot.generation = channel.owners[sock].generation
    slot.backlog = backlog
    slot.flags = flags
    slot.port = local.port
    slot.family = FAMILY_IPV4
    memcpy(slot.address, local.addr, 16)
    channel.socks[sock].local = local[0]
    channel.socks[sock].tcp_state = LISTEN
    listener = cython.address(stack.tcp.listeners[index])
    listener.pending = 0
    listener.channel = channel
    listener.next = stack.tcp.listener_buckets[local.port & (LISTENER_BUCKETS - 1)]
    stack.tcp.listener_buckets[local.port & (LISTENER_BUCKETS - 1)] = index
    slot.used = 1
    return 0


def listen_backlog(stack, app, sock, backlog):
    index = listener_of(stack, app, sock)
    if index == NO_INDEX:
        return -ENOENT
    stack.listeners[index].backlog = backlog
    return 0


def listen_defer(stack, app, sock, seconds):
    index = listener_of(stack, app, sock)
    if index == NO_INDEX:
        return -ENOENT
    stack.listeners[index].defer_s = min(seconds, cython.cast(uint32_t, DEFER_MOST_S))
    return 0


def listen_defers(stack, tcb, seg):
    """TCP_DEFER_ACCEPT, tcp(7), as Linux does since 2.6.32: the bare ACK is remembered, and nothing is sent
    until the time is over. Then the SYN-ACK goes out again, and what answers it is accepted even without
    text."""
    slot = tcb.slot
    if not slot.flags & SLOT_PASSIVE or seg.text_len or seg.flags & TCP_FIN:
        return False
    limit = stack.listeners[slot.listener].defer_s * SECOND
    if stack.now - slot.opened_at >= limit:
        return False
    if not tcb.flags & TF_DEFERRED:
        tcb.flags = (tcb.flags | TF_DEFERRED) & ~TF_SEND_SYN
        tcb.retries = 0
        timer_set(cython.address(stack.tcp), tcb, TIMER_RETRANSMIT, slot.opened_at + limit)
        count(stack, Counter.TCP_ACCEPTS_DEFERRED)
    return True


def close_at(stack, index, memory_stays):
    slot = cython.address(stack.listeners[index])
    slot.used = 0
    link = cython.address(stack.tcp.listener_buckets[slot.port & (LISTENER_BUCKETS - 1)])
    while link[0] != NO_INDEX and link[0] != index:
        link = cython.address(stack.tcp.listeners[link[0]].next)
    if link[0] == index:
        link[0] = stack.tcp.listeners[index].next
    for i in range(stack.config.max_connections):
        conn = cython.address(stack.slots[i])
        if (
            conn.state != TcpState.FREE
            and conn.listener == index
            and conn.flags & (SLOT_PASSIVE | SLOT_ACCEPTED) == SLOT_PASSIVE
        ):
            tcb = cython.address(stack.tcp.tcbs[i])
            if tcb.sock != cython.NULL and load32(cython.address(tcb.sock.request)) & NEAT_REQ_ACCEPTED:
                # Accepted, then the listener was closed, before this was looked at.
                conn_taken(stack, tcb)
                continue
            if conn.state != TcpState.CLOSED and conn.state != TcpState.TIME_WAIT:
                respond_abort(stack, tcb)
            conn_free(stack, tcb)
    if memory_stays:
        sock_death(cython.cast(cython.pointer(Channel), stack.tcp.listeners[index].channel), slot.sock)


def listen_close(stack, app, sock):
    index = listener_of(stack, app, sock)
    if index == NO_INDEX:
        return -ENOENT
    close_at(stack, index, True)
    return 0


def listen_detach(stack, channel):
    for i in range(stack.config.max_listeners):
        if stack.listeners[i].used and stack.tcp.listeners[i].channel == channel:
            close_at(stack, i, True)


def port_listens(stack, port):
    at = stack.tcp.listener_buckets[port & (LISTENER_BUCKETS - 1)]
    while at != NO_INDEX:
        if stack.listeners[at].port == port:
            return True
        at = stack.tcp.listeners[at].next
    return False


def find_listener(stack, key):
    """The most specific one; among equals that share the port (SO_REUSEPORT), one chosen by the flow."""
    best = NO_INDEX
    best_score = 0
    best_rank = 0
    at = stack.tcp.listener_buckets[key.local_port & (LISTENER_BUCKETS - 1)]
    while at != NO_INDEX:
        slot = cython.address(stack.listeners[at])
        if slot.port == key.local_port:
            score = 0
            if memcmp(slot.address, key.local, 16) == 0:
                score = 2
            elif memcmp(slot.address, ANY, 16) == 0:
                score = 1
            if score:
                rank = flow_hash(key, stack.tcp.hash_seed + at)
                if score > best_score or (score == best_score and rank > best_rank):
                    best = at
                    best_score = score
                    best_rank = rank
        at = stack.tcp.listeners[at].next
    return best


def listen_has_room(stack, key):
    index = find_listener(stack, key)
    return index != NO_INDEX and stack.tcp.listeners[index].pending <= stack.listeners[index].backlog


def listen_input(stack, packet, seg, key, iss_floor):
    """LISTEN: first RST, second ACK, third SYN; without a listener, CLOSED."""
    if seg.flags & TCP_RST:
        count(stack, Counter.TCP_NO_CONNECTION)
        return
    index = NO_INDEX
    if not seg.flags & TCP_ACK:
        index = find_listener(stack, key)
    if index == NO_INDEX:
        count(stack, Counter.TCP_NO_CONNECTION)
        respond_rst(stack, packet, seg)
        return
    if seg.flags & (TCP_SYN | TCP_FIN) != TCP_SYN:
        # "Any other control or text-bearing segment": dropped. SYN with FIN, too, as on Linux.
        count(stack, Counter.TCP_NO_ACK)
        return
    count(stack, Counter.TCP_SYNS_IN)
    if stack.tcp.listeners[index].pending > stack.listeners[index].backlog:
        # Dropped, not refused: the peer tries again, as with Linux.
        count(stack, Counter.TCP_BACKLOG_FULL)
        return
    open_passive(stack, index, seg, key, iss_floor)


def open_passive(stack, index, seg, key, iss_floor):
    slot = cython.address(stack.listeners[index])
    listener = cython.address(stack.tcp.listeners[index])
    channel = cython.cast(cython.pointer(Channel), listener.channel)
    sock = cython.address(channel.socks[slot.sock])
    iss = isn(stack, key)
    if iss_floor != cython.NULL:
        iss = isn_beyond(iss, iss_floor[0])
    tcb = conn_birth(stack, key, iss)
    if tcb == cython.NULL:
        return
    tcb.slot.flags |= SLOT_PASSIVE
    tcb.slot.listener = index
    listener.pending += 1
    tcb.slot.irs = seg.seq
    tcb.rcv_nxt = seg.seq + 1
    tcb.last_ack_sent = tcb.rcv_nxt
    tcb.rto_us = INITIAL_RTO_US
    handshake_offer(
        stack, tcb, channel.rx_size, peek32(cython.address(sock.rcvbuf)), peek32(cython.address(sock.maxseg))
    )
    handshake_settle(stack, tcb, seg)
    tcb.slot.rcv_adv = tcb.rcv_nxt
    conn_set_state(tcb, TcpState.SYN_RCVD)
    tcb.flags |= TF_SEND_SYN
    output_want(stack, tcb)


def listen_establish(stack, tcb):
    slot = cython.address(stack.listeners[tcb.slot.listener])
    listener = cython.address(stack.tcp.listeners[tcb.slot.listener])
    channel = cython.cast(cython.pointer(Channel), listener.channel)
    if conn_take_sock(stack, tcb, channel) < 0:
        respond_abort(stack, tcb)
        conn_free(stack, tcb)
        return False
    parent = cython.address(channel.socks[slot.sock])
    tcb.sock.options = parent.options
    tcb.sock.rcvbuf = parent.rcvbuf
    tcb.sock.sndbuf = parent.sndbuf
    tcb.sock.linger_ms = parent.linger_ms
    tcb.sock.user_timeout_ms = parent.user_timeout_ms
    tcb.sock.keep_idle_s = parent.keep_idle_s
    tcb.sock.keep_intvl_s = parent.keep_intvl_s
    tcb.sock.keep_cnt = parent.keep_cnt
    tcb.sock.tos = parent.tos
    tcb.sock.ttl = parent.ttl
    tcb.sock.rcvlowat = parent.rcvlowat
    tcb.sock.maxseg = parent.maxseg
    tcb.sock.syn_retries = parent.syn_retries
    tcb.event.event.listener_sock = slot.sock
    count(stack, Counter.TCP_PASSIVE_OPENS)
    return True
