"""Listening sockets, and what arrives for them. The backlog is real."""

from libc.errno cimport EADDRINUSE, EAFNOSUPPORT, EINVAL, ENOBUFS, ENOENT, ENOMEM, ESRCH
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy, memset
from neat.abi.channel cimport NEAT_REQ_ACCEPTED, NEAT_SOCK_LISTENER, neat_addr, neat_sock
from neat.abi.control cimport NEAT_BIND_REUSEPORT
from neat.shm.atomic cimport load32, peek32, store32
from neat.stack.channels cimport (
    NO_SOCK, channel_of, sock_birth, sock_bury, sock_death, sock_resume,
)
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_ACCEPTED, SLOT_DEFERRED, SLOT_PASSIVE, ConnSlot, ListenerSlot
from neat.stack.tcp.connection cimport conn_birth, conn_free, conn_set_state, conn_take_sock, conn_taken
from neat.stack.tcp.deadlines cimport timer_set
from neat.stack.tcp.handshake cimport handshake_offer, handshake_settle
from neat.stack.tcp.isn cimport isn, isn_beyond
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.respond cimport respond_abort, respond_rst
from neat.stack.tcp.rtt cimport INITIAL_RTO_US
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport LISTEN, TcpState
from neat.stack.tcp.timewait cimport wait_replace
from neat.stack.tcp.types cimport (
    LISTENER_BUCKETS, NO_INDEX, SECOND, TF_DEFERRED, TF_SEND_SYN, TIMER_RETRANSMIT, Listener, Tcb,
)
from neat.stack.types cimport Channel, Stack, count
from neat.wire.flow cimport FAMILY_IPV4, FlowKey, flow_hash
from neat.wire.headers cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN

cdef enum:
    DEFER_MOST_S = 0xFFFF


cdef uint8_t ANY[16]


cdef int listen_create(Stack* stack) noexcept nogil:
    stack.tcp.listeners = <Listener*>calloc(stack.config.max_listeners, sizeof(Listener))
    if stack.tcp.listeners == NULL:
        return -ENOMEM
    for i in range(<int>LISTENER_BUCKETS):
        stack.tcp.listener_buckets[i] = NO_INDEX
    return 0


cdef bint conflicts(Stack* stack, const neat_addr* local, uint32_t flags) noexcept nogil:
    """Does another listener have this address and port? Not if both said SO_REUSEPORT."""
    cdef uint32_t i
    cdef ListenerSlot* slot
    cdef bint same
    for i in range(stack.config.max_listeners):
        slot = &stack.listeners[i]
        if not slot.used or slot.port != local.port or slot.flags & flags & NEAT_BIND_REUSEPORT:
            continue
        same = memcmp(slot.address, local.addr, 16) == 0
        if same or memcmp(slot.address, ANY, 16) == 0 or memcmp(local.addr, ANY, 16) == 0:
            return True
    return False


cdef uint32_t listener_of(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil:
    cdef ListenerSlot* slot
    cdef uint32_t i
    for i in range(stack.config.max_listeners):
        slot = &stack.listeners[i]
        if slot.used and slot.app == app and slot.sock == sock:
            return i
    return NO_INDEX


cdef int listen_open(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t backlog, uint32_t flags
) noexcept nogil:
    if local.family not in (0, FAMILY_IPV4):
        return -EAFNOSUPPORT
    if local.port == 0 or sock == NO_SOCK:
        return -EINVAL
    channel = channel_of(stack, app)
    if channel == NULL:
        return -ESRCH
    if conflicts(stack, local, flags):
        return -EADDRINUSE
    cdef uint32_t index = 0
    while index < stack.config.max_listeners and stack.listeners[index].used:
        index += 1
    if index == stack.config.max_listeners:
        return -ENOBUFS
    born = sock_birth(channel, sock, NEAT_SOCK_LISTENER, <int32_t>index)
    if born < 0:
        return born
    slot = &stack.listeners[index]
    memset(slot, 0, sizeof(ListenerSlot))
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
    begin(stack, index, channel)
    store32(&slot.used, 1)
    return 0


cdef void begin(Stack* stack, uint32_t index, Channel* channel) noexcept nogil:
    """The volatile half of a slot that is filled in."""
    listener = &stack.tcp.listeners[index]
    head = &stack.tcp.listener_buckets[stack.listeners[index].port & (LISTENER_BUCKETS - 1)]
    listener.pending = 0
    listener.channel = channel
    listener.next = head[0]
    head[0] = index


cdef void listen_recover(Stack* stack) noexcept nogil:
    cdef uint32_t i
    cdef ListenerSlot* slot
    cdef Channel* channel
    for i in range(stack.config.max_listeners):
        slot = &stack.listeners[i]
        if not slot.used:
            continue
        channel = channel_of(stack, slot.app)
        if (
            channel == NULL
            or slot.port == 0
            or slot.family != FAMILY_IPV4
            or not sock_resume(channel, slot.sock, NEAT_SOCK_LISTENER, <int32_t>i, slot.generation)
        ):
            count(stack, Counter.RECOVER_BAD_LISTENER)
            store32(&slot.used, 0)
            continue
        begin(stack, i, channel)
        channel.socks[slot.sock].tcp_state = LISTEN
    for i in range(stack.config.max_listeners):
        slot = &stack.listeners[i]
        if slot.used or slot.generation == 0:
            continue
        channel = channel_of(stack, slot.app)
        if channel != NULL:
            sock_bury(channel, slot.sock, slot.generation)


cdef int listen_backlog(Stack* stack, uint32_t app, uint32_t sock, uint32_t backlog) noexcept nogil:
    index = listener_of(stack, app, sock)
    if index == NO_INDEX:
        return -ENOENT
    stack.listeners[index].backlog = backlog
    return 0


cdef int listen_defer(Stack* stack, uint32_t app, uint32_t sock, uint32_t seconds) noexcept nogil:
    index = listener_of(stack, app, sock)
    if index == NO_INDEX:
        return -ENOENT
    stack.listeners[index].defer_s = min(seconds, <uint32_t>DEFER_MOST_S)
    return 0


cdef uint64_t listen_deferral(Stack* stack, Tcb* tcb) noexcept nogil:
    return tcb.slot.opened_at + stack.listeners[tcb.slot.listener].defer_s * SECOND


cdef bint listen_defers(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil:
    """TCP_DEFER_ACCEPT, tcp(7), as Linux does since 2.6.32: the bare ACK is remembered, and nothing is sent
    until the time is over. Then the SYN-ACK goes out again, and what answers it is accepted even without
    text."""
    cdef ConnSlot* slot = tcb.slot
    if not slot.flags & SLOT_PASSIVE or seg.text_len or seg.flags & TCP_FIN:
        return False
    if stack.now >= listen_deferral(stack, tcb):
        return False
    if not tcb.flags & TF_DEFERRED:
        slot.flags |= SLOT_DEFERRED
        tcb.flags = (tcb.flags | TF_DEFERRED) & ~TF_SEND_SYN
        tcb.retries = 0
        timer_set(&stack.tcp, tcb, TIMER_RETRANSMIT, listen_deferral(stack, tcb))
        count(stack, Counter.TCP_ACCEPTS_DEFERRED)
    return True


cdef void close_at(Stack* stack, uint32_t index, bint memory_stays) noexcept nogil:
    cdef ConnSlot* conn
    cdef Tcb* tcb
    cdef uint32_t i
    cdef ListenerSlot* slot = &stack.listeners[index]
    store32(&slot.used, 0)
    cdef uint32_t* link = &stack.tcp.listener_buckets[slot.port & (LISTENER_BUCKETS - 1)]
    while link[0] != NO_INDEX and link[0] != index:
        link = &stack.tcp.listeners[link[0]].next
    if link[0] == index:
        link[0] = stack.tcp.listeners[index].next
    for i in range(stack.state.slots_used):
        conn = &stack.slots[i]
        if (
            conn.state != TcpState.FREE
            and conn.listener == index
            and conn.flags & (SLOT_PASSIVE | SLOT_ACCEPTED) == SLOT_PASSIVE
        ):
            tcb = &stack.tcp.tcbs[i]
            if tcb.sock != NULL and load32(&tcb.sock.request) & NEAT_REQ_ACCEPTED:
                # Accepted, then the listener was closed, before this was looked at.
                conn_taken(stack, tcb)
                continue
            if conn.state != TcpState.CLOSED and conn.state != TcpState.TIME_WAIT:
                respond_abort(stack, tcb)
            conn_free(stack, tcb)
    if memory_stays:
        sock_death(<Channel*>stack.tcp.listeners[index].channel, slot.sock)


cdef int listen_close(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil:
    index = listener_of(stack, app, sock)
    if index == NO_INDEX:
        return -ENOENT
    close_at(stack, index, True)
    return 0


cdef void listen_detach(Stack* stack, Channel* channel) noexcept nogil:
    for i in range(stack.config.max_listeners):
        if stack.listeners[i].used and stack.tcp.listeners[i].channel == channel:
            close_at(stack, i, True)


cdef bint port_listens(Stack* stack, uint16_t port) noexcept nogil:
    cdef uint32_t at = stack.tcp.listener_buckets[port & (LISTENER_BUCKETS - 1)]
    while at != NO_INDEX:
        if stack.listeners[at].port == port:
            return True
        at = stack.tcp.listeners[at].next
    return False


cdef uint32_t find_listener(Stack* stack, const FlowKey* key) noexcept nogil:
    """The most specific one; among equals that share the port (SO_REUSEPORT), one chosen by the flow."""
    cdef uint32_t score, rank
    cdef ListenerSlot* slot
    cdef uint32_t best = NO_INDEX
    cdef uint32_t best_score = 0
    cdef uint32_t best_rank = 0
    cdef uint32_t at = stack.tcp.listener_buckets[key.local_port & (LISTENER_BUCKETS - 1)]
    while at != NO_INDEX:
        slot = &stack.listeners[at]
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


cdef bint listen_has_room(Stack* stack, const FlowKey* key) noexcept nogil:
    cdef uint32_t index = find_listener(stack, key)
    return index != NO_INDEX and stack.tcp.listeners[index].pending <= stack.listeners[index].backlog


cdef void listen_input(
    Stack* stack, Packet* packet, Segment* seg, const FlowKey* key, uint32_t wait
) noexcept nogil:
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
    open_passive(stack, index, seg, key, wait)


cdef void open_passive(
    Stack* stack, uint32_t index, Segment* seg, const FlowKey* key, uint32_t wait
) noexcept nogil:
    cdef ListenerSlot* slot = &stack.listeners[index]
    cdef Listener* listener = &stack.tcp.listeners[index]
    cdef Channel* channel = <Channel*>listener.channel
    cdef neat_sock* sock = &channel.socks[slot.sock]
    cdef uint32_t iss = isn(stack, key)
    if wait != NO_INDEX:
        iss = isn_beyond(iss, stack.tcp.waits[wait].snd_nxt)
    cdef Tcb* tcb = conn_birth(stack, key, iss)
    if tcb == NULL:
        return
    tcb.slot.flags |= SLOT_PASSIVE
    tcb.slot.listener = index
    listener.pending += 1
    tcb.slot.irs = seg.seq
    tcb.rcv_nxt = seg.seq + 1
    tcb.last_ack_sent = tcb.rcv_nxt
    tcb.rto_us = INITIAL_RTO_US
    handshake_offer(stack, tcb, channel.rx_size, peek32(&sock.rcvbuf), peek32(&sock.maxseg))
    handshake_settle(stack, tcb, seg)
    tcb.slot.rcv_adv = tcb.rcv_nxt
    conn_set_state(tcb, TcpState.SYN_RCVD)
    if wait != NO_INDEX:
        wait_replace(stack, wait)
    tcb.flags |= TF_SEND_SYN
    output_want(stack, tcb)


cdef bint listen_establish(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef ListenerSlot* slot = &stack.listeners[tcb.slot.listener]
    cdef Listener* listener = &stack.tcp.listeners[tcb.slot.listener]
    cdef Channel* channel = <Channel*>listener.channel
    if conn_take_sock(stack, tcb, channel) < 0:
        respond_abort(stack, tcb)
        conn_free(stack, tcb)
        return False
    cdef neat_sock* parent = &channel.socks[slot.sock]
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
