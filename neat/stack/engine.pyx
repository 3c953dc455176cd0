"""The protocol engine's public face: what the replica process and the tests call."""

from libc.errno cimport ENOENT
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from neat.abi.channel cimport NEAT_SOCK_LISTENER, NEAT_SOCK_TCP, NEAT_SOCK_UDP, neat_addr, neat_sock
from neat.shm.atomic cimport store32, store64
from neat.shm.filter cimport VERDICT_ACCEPT, VERDICT_REJECT, VERDICT_RESET
from neat.shm.ring cimport RECORD_FRAME
from neat.stack.channels cimport (
    channel_attach, channel_forget, channel_next_dirty, channel_of, channel_pending,
)
from neat.stack.config cimport EV_FREED, PART_IP, ConnectWishes, Event, Guess, Span, StackConfig
from neat.stack.counters cimport Counter
from neat.stack.events cimport event_take
from neat.stack.filter cimport filter_acts, filter_attach, filter_detach, filter_output
from neat.stack.icmp cimport ICMP_PORT_UNREACHABLE, own_frame_refused
from neat.stack.forward cimport forward_frame, forward_poll
from neat.stack.held cimport held_poll
from neat.stack.ipv4 cimport IPV4_OFFSET, ipv4_create, ipv4_destroy, ipv4_input
from neat.stack.neighbour cimport neighbour_expire, neighbour_next_deadline, neighbour_poll
from neat.stack.recover cimport has_past, recover
from neat.stack.reply cimport reply_poll
from neat.stack.state cimport (
    SHARE_WORDS, SLOT_ACCEPTED, SLOT_PASSIVE, SUSPECT_COMMAND, SUSPECT_FRAME, SUSPECT_NONE, SUSPECT_TIMER,
    SUSPECT_TRANSMIT, ConnSlot, ListenerSlot, NeighbourSlot, StateHeader, Suspect, UdpSlot, WaitSlot,
    state_attach, state_bytes,
)
from neat.stack.tcp.commands cimport tcp_close, tcp_command
from neat.stack.tcp.connection cimport conn_ready, conn_release, put_address
from neat.stack.tcp.listen cimport listen_backlog, listen_close, listen_defer, listen_open
from neat.stack.tcp.output cimport tcp_poll
from neat.stack.tcp.ports cimport ports_in_use, ports_narrow, ports_share
from neat.stack.tcp.spans cimport guess_next, guess_of, is_guessed
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.stray cimport stray_lost
from neat.stack.tcp.strikes cimport tcp_strike
from neat.stack.tcp.synsent cimport connect_open
from neat.stack.tcp.tables cimport tcp_create, tcp_destroy, tcp_detach
from neat.stack.tcp.timers cimport tcp_expire, tcp_next_deadline
from neat.stack.tcp.timewait cimport wait_adopt, wait_expire, wait_next_deadline
from neat.stack.tcp.types cimport NO_INDEX
from neat.stack.types cimport CHANNELS, REPLY_SLOTS, FlowQueue, FlowRecord, Reply, Stack, count
from neat.stack.udp cimport udp_bind, udp_command, udp_create, udp_destroy, udp_detach, udp_unbind
from neat.stack.udp_output cimport udp_poll
from neat.wire.flow cimport FlowKey
from neat.wire.headers cimport PROTO_TCP, PROTO_UDP, Ipv4Header


cdef uint64_t stack_state_bytes(const StackConfig* config) noexcept nogil:
    return state_bytes(config)


cdef Stack* stack_create(
    const StackConfig* config, void* state, uint64_t state_size, uint64_t now
) noexcept nogil:
    header = <StateHeader*>state
    if (
        state == NULL
        or config.max_connections == 0
        or config.max_connections > 1 << 20
        or config.mtu < 576
        or (config.replicas != 0 and config.replica >= config.replicas)
        or config.port_low == 0
        or config.port_high < config.port_low
        or (config.port_high >> 6) - (config.port_low >> 6) >= SHARE_WORDS
    ):
        return NULL
    past = state_attach(header, state_size, config)
    if past < 0:
        return NULL
    stack = <Stack*>calloc(1, sizeof(Stack))
    if stack == NULL:
        return NULL
    base = <uint8_t*>state
    stack.config = config[0]
    stack.now = now
    stack.resumed = past == 1
    stack.unrecovered = stack.resumed
    stack.counters = stack.own_counters
    stack.state = header
    stack.slots = <ConnSlot*>(base + header.connections)
    stack.listeners = <ListenerSlot*>(base + header.listeners)
    stack.udp_slots = <UdpSlot*>(base + header.udp)
    stack.neighbours = <NeighbourSlot*>(base + header.neighbours)
    stack.replies.slots = <Reply*>calloc(REPLY_SLOTS, sizeof(Reply))
    stack.flows.capacity = 1024
    while stack.flows.capacity < 2 * config.max_connections:
        stack.flows.capacity *= 2
    stack.flows.records = <FlowRecord*>calloc(stack.flows.capacity, sizeof(FlowRecord))
    if (
        stack.replies.slots == NULL
        or stack.flows.records == NULL
        or tcp_create(stack) < 0
        or ipv4_create(stack) < 0
        or udp_create(stack) < 0
    ):
        stack_destroy(stack)
        return NULL
    if not stack.resumed:
        ports_share(stack, config.replica if config.replicas else 0, config.replicas, NULL)
    return stack


cdef void stack_destroy(Stack* stack) noexcept nogil:
    for i in range(CHANNELS):
        if stack.channels[i] != NULL:
            channel_forget(stack, stack.channels[i])
    filter_detach(stack)
    udp_destroy(stack)
    ipv4_destroy(stack)
    tcp_destroy(stack)
    free(stack.flows.records)
    free(stack.replies.slots)
    free(stack)


cdef int stack_filter(
    Stack* stack, const void* header, void* rates, void* own, const void* areas, uint32_t area, uint32_t many
) noexcept nogil:
    return filter_attach(stack, header, rates, own, areas, area, many)


cdef void suspect_is(Stack* stack, uint32_t kind, uint64_t position, uint32_t length) noexcept nogil:
    """Note what is being processed: its successor learns what it died of."""
    cdef Suspect* suspect = &stack.state.suspect
    suspect.length = length
    suspect.position = position
    suspect.at = stack.now
    suspect.conn = NO_INDEX
    store32(&suspect.kind, kind)


cdef bint stack_has_past(Stack* stack) noexcept nogil:
    return has_past(stack)


cdef uint64_t stack_resume_position(Stack* stack, Suspect* suspect) noexcept nogil:
    suspect[0] = stack.state.suspect
    return stack.state.frames


cdef int32_t stack_recover(Stack* stack, uint64_t now) noexcept nogil:
    stack.now = now
    return recover(stack)


cdef void stack_frame_arrives(
    Stack* stack, uint8_t* record, uint32_t length, uint64_t position, uint64_t next, uint64_t now
) noexcept nogil:
    stack.now = now
    suspect_is(stack, SUSPECT_FRAME, position, length)
    stack.ip.handed = 0
    ipv4_input(stack, record, length)
    store64(&stack.state.frames, next)
    stack.state.suspect.kind = SUSPECT_NONE


cdef bint stack_guess(Stack* stack, Guess* room) noexcept nogil:
    return guess_next(stack, room)


cdef bint stack_is_guessed(
    Stack* stack, const Guess* room, const uint8_t* record, uint32_t length
) noexcept nogil:
    return is_guessed(stack, room, record, length)


cdef void stack_placed_arrives(
    Stack* stack, uint32_t conn, uint8_t* record, uint32_t length, uint64_t position, uint64_t next,
    uint64_t now
) noexcept nogil:
    stack.tcp.placed = conn
    stack_frame_arrives(stack, record, length, position, next, now)
    stack.tcp.placed = NO_INDEX


cdef bint stack_guess_again(
    Stack* stack, uint32_t conn, uint64_t offset, uint32_t room, Guess* guess
) noexcept nogil:
    return guess_of(stack, conn, offset, room, guess)


cdef void stack_own_frame_arrives(
    Stack* stack, uint8_t* record, uint32_t length, uint64_t position, uint64_t next, uint64_t now
) noexcept nogil:
    stack.ip.own_frame = True
    stack_frame_arrives(stack, record, length, position, next, now)
    stack.ip.own_frame = False


cdef uint8_t stack_handed_up(Stack* stack) noexcept nogil:
    return stack.ip.handed


cdef bint stack_forward(
    Stack* stack, uint8_t* record, uint32_t length, uint8_t protocol, uint64_t now
) noexcept nogil:
    stack.now = now
    return forward_frame(stack, record, length, protocol)


cdef uint32_t stack_poll_up(Stack* stack, uint8_t* buffer, uint8_t* protocol) noexcept nogil:
    return forward_poll(stack, buffer, protocol)


cdef void stack_flow_lost(
    Stack* stack, const uint8_t* payload, uint32_t length, uint64_t now
) noexcept nogil:
    stack.now = now
    stray_lost(stack, payload, length)


cdef bint stack_strike(Stack* stack, uint32_t conn, uint64_t now) noexcept nogil:
    stack.now = now
    return tcp_strike(stack, conn)


cdef uint32_t poll_control(Stack* stack, uint8_t* buffer, uint16_t* record_type) noexcept nogil:
    """What goes before all text: control records, replies, requests for neighbours."""
    cdef FlowRecord* record
    cdef FlowQueue* flows = &stack.flows
    if flows.head != flows.tail:
        record = &flows.records[flows.head & (flows.capacity - 1)]
        flows.head += 1
        memcpy(buffer, &record.key, sizeof(FlowKey))
        record_type[0] = <uint16_t>record.type
        return sizeof(FlowKey)
    record_type[0] = RECORD_FRAME
    cdef uint32_t length = reply_poll(stack, buffer)
    return length if length else neighbour_poll(stack, buffer)


cdef uint32_t stack_poll_transmit(
    Stack* stack, uint8_t* buffer, uint16_t* record_type, uint64_t now
) noexcept nogil:
    stack.now = now
    suspect_is(stack, SUSPECT_TRANSMIT, 0, 0)
    length = poll_any(stack, buffer, record_type)
    while length and record_type[0] == RECORD_FRAME and not leaves(stack, buffer, length):
        length = poll_any(stack, buffer, record_type)
    stack.state.suspect.kind = SUSPECT_NONE
    return length


cdef uint32_t poll_any(Stack* stack, uint8_t* buffer, uint16_t* record_type) noexcept nogil:
    """Control, then TCP in turns, then UDP; and control again, for which these may have found a reason."""
    if stack.gathered != NULL:
        stack.gathered[0].length = stack.gathered[1].length = 0
    length = poll_control(stack, buffer, record_type)
    if length == 0:
        length = tcp_poll(stack, buffer)
    if length == 0:
        length = udp_poll(stack, buffer)
    if length == 0:
        length = poll_control(stack, buffer, record_type)
        if length == 0 and stack.ip.ready:
            length = held_poll(stack, buffer)
    return length


cdef bint leaves(Stack* stack, const uint8_t* frame, uint32_t length) noexcept nogil:
    """The filter lets it through; if not, its socket may be told, as by the first router on the way."""
    if not filter_acts(stack) or is_forwarded(stack, frame):
        return True
    judgement = filter_output(stack, frame, length)
    if judgement.verdict == VERDICT_REJECT or judgement.verdict == VERDICT_RESET:
        own_frame_refused(
            stack, frame, length,
            judgement.code if judgement.verdict == VERDICT_REJECT else <uint8_t>ICMP_PORT_UNREACHABLE,
        )
    return judgement.verdict == VERDICT_ACCEPT


cdef bint is_forwarded(Stack* stack, const uint8_t* frame) noexcept nogil:
    """By an IP part that held it for its neighbour: the part that sent it has judged it."""
    if stack.config.part != PART_IP:
        return False
    protocol = (<const Ipv4Header*>(frame + IPV4_OFFSET)).protocol
    return protocol == PROTO_TCP or protocol == PROTO_UDP


cdef void stack_gather(Stack* stack, Span* spans) noexcept nogil:
    stack.gathered = spans


cdef bint stack_poll_event(Stack* stack, Event* event) noexcept nogil:
    node = event_take(&stack.events, event)
    if node == NULL:
        return False
    if event.kinds & EV_FREED and event.conn >= 0:
        conn_release(stack, &stack.tcp.tcbs[event.conn])
    return True


cdef void stack_expire(Stack* stack, uint64_t now) noexcept nogil:
    stack.now = now
    suspect_is(stack, SUSPECT_TIMER, 0, 0)
    tcp_expire(stack)
    wait_expire(stack)
    neighbour_expire(stack)
    stack.state.suspect.kind = SUSPECT_NONE


cdef uint64_t stack_next_deadline(Stack* stack) noexcept nogil:
    return min(min(tcp_next_deadline(stack), wait_next_deadline(stack)), neighbour_next_deadline(stack))


cdef int stack_channel_attach(
    Stack* stack, uint32_t app, void* memory, uint32_t nsock, uint32_t rx_size, uint32_t tx_size
) noexcept nogil:
    return channel_attach(stack, app, memory, nsock, rx_size, tx_size)


cdef void stack_channel_detach(Stack* stack, uint32_t app) noexcept nogil:
    channel = channel_of(stack, app)
    if channel != NULL:
        tcp_detach(stack, channel)
        udp_detach(stack, channel)
        channel_forget(stack, channel)


cdef uint32_t stack_channel_users(Stack* stack, uint32_t app) noexcept nogil:
    channel = channel_of(stack, app)
    return channel.users if channel != NULL else 0


cdef bint stack_channel_pending(Stack* stack, uint32_t app) noexcept nogil:
    channel = channel_of(stack, app)
    return channel != NULL and channel_pending(channel)


cdef uint32_t stack_scan_channel(Stack* stack, uint32_t app, uint32_t budget, uint64_t now) noexcept nogil:
    stack.now = now
    channel = channel_of(stack, app)
    if channel == NULL:
        return 0
    cdef uint32_t done = 0
    while done < budget:
        index = channel_next_dirty(channel)
        if index < 0:
            break
        done += 1
        who = &channel.owners[index]
        suspect_is(stack, SUSPECT_COMMAND, (<uint64_t>app << 32) | <uint32_t>index, 0)
        if who.kind == NEAT_SOCK_TCP:
            stack.state.suspect.conn = who.owner
            tcp_command(stack, &stack.tcp.tcbs[who.owner])
        elif who.kind == NEAT_SOCK_UDP:
            udp_command(stack, channel, index, &channel.socks[index])
        elif who.kind != NEAT_SOCK_LISTENER:
            count(stack, Counter.CHANNEL_BAD_BIT)
    stack.state.suspect.kind = SUSPECT_NONE
    return done


cdef neat_sock* stack_sock(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil:
    channel = channel_of(stack, app)
    if channel == NULL or sock >= channel.nsock:
        return NULL
    return &channel.socks[sock]


cdef int stack_listen(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t backlog, uint32_t flags
) noexcept nogil:
    return listen_open(stack, app, sock, local, backlog, flags)


cdef int stack_set_backlog(Stack* stack, uint32_t app, uint32_t sock, uint32_t backlog) noexcept nogil:
    return listen_backlog(stack, app, sock, backlog)


cdef int stack_set_defer(Stack* stack, uint32_t app, uint32_t sock, uint32_t seconds) noexcept nogil:
    return listen_defer(stack, app, sock, seconds)


cdef int stack_unlisten(Stack* stack, uint32_t app, uint32_t sock, uint64_t now) noexcept nogil:
    stack.now = now
    return listen_close(stack, app, sock)


cdef int stack_connect(
    Stack* stack, uint32_t app, const neat_addr* local, const neat_addr* remote, const ConnectWishes* wishes,
    uint64_t now
) noexcept nogil:
    stack.now = now
    return connect_open(stack, app, local, remote, wishes)


cdef int stack_narrow_ports(Stack* stack, uint32_t rank, uint32_t replicas) noexcept nogil:
    return ports_narrow(stack, rank, replicas)


cdef void stack_ports_in_use(Stack* stack, uint64_t* used) noexcept nogil:
    ports_in_use(stack, used)


cdef int stack_share_ports(
    Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held
) noexcept nogil:
    return ports_share(stack, rank, replicas, held)


cdef uint32_t stack_adopt(Stack* stack, const WaitSlot* waits, uint32_t number, uint64_t now) noexcept nogil:
    cdef uint32_t done = 0
    stack.now = now
    while done < number and wait_adopt(stack, &waits[done]):
        done += 1
    return done


cdef bint stack_flows_said(Stack* stack) noexcept nogil:
    return stack.flows.head == stack.flows.tail


cdef int stack_udp_bind(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags
) noexcept nogil:
    return udp_bind(stack, app, sock, local, flags)


cdef int stack_udp_unbind(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil:
    return udp_unbind(stack, app, sock)


cdef void stack_close(Stack* stack, int32_t conn, uint64_t now) noexcept nogil:
    stack.now = now
    if conn < 0 or <uint32_t>conn >= stack.config.max_connections:
        return
    if stack.slots[conn].state != TcpState.FREE:
        tcp_close(stack, &stack.tcp.tcbs[conn])


cdef int stack_conn_info(Stack* stack, int32_t conn, ConnInfo* info) noexcept nogil:
    if conn < 0 or <uint32_t>conn >= stack.config.max_connections:
        return -ENOENT
    slot = &stack.slots[conn]
    tcb = &stack.tcp.tcbs[conn]
    if slot.state == TcpState.FREE:
        return -ENOENT
    memset(info, 0, sizeof(ConnInfo))
    info.app = slot.app
    info.sock = slot.sock
    info.generation = slot.generation
    info.state = <uint8_t>slot.state
    info.passive = 1 if slot.flags & SLOT_PASSIVE else 0
    info.accepted = 1 if slot.flags & SLOT_ACCEPTED else 0
    put_address(&info.local, &slot.key, slot.key.local, slot.key.local_port)
    put_address(&info.remote, &slot.key, slot.key.remote, slot.key.remote_port)
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


cdef uint32_t stack_conn_ready(Stack* stack, int32_t conn) noexcept nogil:
    if conn < 0 or <uint32_t>conn >= stack.config.max_connections:
        return 0
    tcb = &stack.tcp.tcbs[conn]
    return 0 if tcb.slot == NULL or tcb.sock == NULL else conn_ready(tcb)


cdef uint32_t stack_waiting_info(Stack* stack, uint32_t start, ConnInfo* info) noexcept nogil:
    cdef uint32_t at = start
    while at < stack.state.waits_used:
        wait = &stack.tcp.waits[at]
        at += 1
        if wait.state == TcpState.FREE:
            continue
        memset(info, 0, sizeof(ConnInfo))
        info.state = <uint8_t>wait.state
        put_address(&info.local, &wait.key, wait.key.local, wait.key.local_port)
        put_address(&info.remote, &wait.key, wait.key.remote, wait.key.remote_port)
        info.snd_nxt = wait.snd_nxt
        info.snd_una = wait.snd_nxt
        info.rcv_nxt = wait.rcv_nxt
        info.rcv_wnd = wait.rcv_wnd
        return at
    return 0


cdef uint64_t* stack_counters(Stack* stack) noexcept nogil:
    return stack.counters


cdef void stack_use_counters(Stack* stack, uint64_t* counters) noexcept nogil:
    memcpy(counters, stack.counters, Counter.COUNTER_COUNT * 8)
    stack.counters = counters
