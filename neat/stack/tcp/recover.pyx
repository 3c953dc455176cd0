"""Going on with the TCP that a predecessor left in the state segment."""

from libc.errno cimport ECONNABORTED
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from neat.abi.channel cimport (
    NEAT_REQ_ACCEPTED, NEAT_SOCK_TCP, NEAT_ST_CLOSED, NEAT_ST_CONNECTED, NEAT_ST_CONNECTING, NEAT_ST_ERROR,
    NEAT_ST_FIN, NEAT_ST_ORPHAN, NEAT_ST_RDHUP, NEAT_ST_WRCLOSED, neat_sock,
)
from neat.shm.atomic cimport load32, load64, peek32, store32, store64
from neat.stack.channels cimport (
    channel_of, channel_relink, sock_bury, sock_resume, sock_rx_ring, sock_tx_ring,
)
from neat.stack.counters cimport Counter
from neat.stack.state cimport (
    SLOT_ACCEPTED, SLOT_DEFERRED, SLOT_FIN_ACKED, SLOT_FIN_EARLY, SLOT_FIN_QUEUED, SLOT_FIN_SEEN,
    SLOT_HAS_SOCK, SLOT_ORPHAN, SLOT_PASSIVE, SLOT_SYN_ACKED, ConnSlot,
)
from neat.stack.tcp.congestion cimport congestion_start
from neat.stack.tcp.connection cimport conn_free, conn_over, put_address
from neat.stack.tcp.deadlines cimport timer_set, timers_reset
from neat.stack.tcp.handshake cimport IP_TCP_HEADERS, LEAST_MSS, handshake_offer
from neat.stack.tcp.listen cimport listen_deferral
from neat.stack.tcp.lookup cimport key_is_sound, lookup, lookup_insert
from neat.stack.tcp.plan cimport fin_waits, pending
from neat.stack.tcp.reassembly cimport ooo_resume
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.rtt cimport INITIAL_RTO_US, rto_restore
from neat.stack.tcp.segment cimport MAX_WSCALE
from neat.stack.tcp.state cimport TcpState, is_opening, is_over
from neat.stack.tcp.strikes cimport STRIKES
from neat.stack.tcp.timewait cimport wait_replace
from neat.stack.tcp.types cimport (
    NO_INDEX, TF_DEFERRED, TF_FIN_WAITS, TF_KNOWN, TF_SEND_SYN, TIMER_RETRANSMIT, TW_BIT,
    Tcb,
)
from neat.stack.tcp.window cimport window_begin
from neat.stack.types cimport CHANNELS, Channel, Stack, count, count_add

cdef enum:
    SOUND = 0                       # else the Counter of what is wrong


# Of a listener: it has no socket yet.
cdef inline bint is_half_open(ConnSlot* slot) noexcept nogil:
    return slot.state == TcpState.SYN_RCVD and slot.flags & SLOT_PASSIVE != 0


cdef uint32_t tcp_recover_slots(Stack* stack) noexcept nogil:
    """First whose each socket is, so that it is known which are free; then each connection for itself."""
    cdef uint32_t i, verdict
    cdef uint32_t resumed = 0
    for i in range(stack.state.slots_used):
        if stack.slots[i].state != TcpState.FREE:
            stack.tcp.tcbs[i].verdict = claim(stack, &stack.tcp.tcbs[i])
    bury(stack)
    relink(stack)
    for i in range(stack.state.slots_used):
        if stack.slots[i].state == TcpState.FREE:
            continue
        verdict = stack.tcp.tcbs[i].verdict
        if verdict == SOUND:
            verdict = resume(stack, &stack.tcp.tcbs[i])
        if verdict == SOUND:
            resumed += 1
        else:
            count(stack, verdict)
            give_up(stack, &stack.tcp.tcbs[i], verdict)
    count_add(stack, Counter.RECOVER_CONNECTIONS, resumed)
    return resumed


cdef void bury(Stack* stack) noexcept nogil:
    """Sockets that are not their slot's any more, or not yet."""
    cdef uint32_t i
    cdef ConnSlot* slot
    cdef Channel* channel = NULL
    cdef uint32_t app = NO_INDEX
    for i in range(stack.state.slots_used):
        slot = &stack.slots[i]
        if not slot.flags & SLOT_HAS_SOCK or not (slot.state == TcpState.FREE or is_half_open(slot)):
            continue
        if slot.app != app:
            app = slot.app
            channel = channel_of(stack, app)  # those of one that is gone are mostly many
        if channel != NULL:
            sock_bury(channel, slot.sock, slot.generation)
        if slot.state != TcpState.FREE:
            slot.flags &= ~SLOT_HAS_SOCK


cdef void relink(Stack* stack) noexcept nogil:
    """What is free, of slots that were used and of sockets; lowest first, as those cost no new memory."""
    cdef uint32_t i
    for i in range(<uint32_t>CHANNELS):
        if stack.channels[i] != NULL:
            channel_relink(stack.channels[i])
    i = stack.state.slots_used
    stack.tcp.first_free = NO_INDEX
    while i > 0:
        i -= 1
        if stack.slots[i].state == TcpState.FREE:
            stack.tcp.tcbs[i].index = i
            stack.tcp.tcbs[i].slot = &stack.slots[i]
            stack.tcp.tcbs[i].heap_at = NO_INDEX
            stack.tcp.tcbs[i].free_next = stack.tcp.first_free
            stack.tcp.first_free = i


# --- one connection: its checks, and what follows from its slot


# Each returns SOUND or the Counter of what is wrong, and may rely on those that were called before.
cdef uint32_t claim(Stack* stack, Tcb* tcb) noexcept nogil:
    begin(stack, tcb)
    if not key_is_sound(stack, &tcb.slot.key):
        return Counter.RECOVER_BAD_KEY
    return check_owner(stack, tcb)


cdef uint32_t resume(Stack* stack, Tcb* tcb) noexcept nogil:
    slot = tcb.slot
    cdef uint32_t verdict = check_state(slot)
    if slot.strikes >= STRIKES:
        return Counter.TCP_STRUCK_OUT
    if verdict == SOUND:
        verdict = check_options(stack, slot)
    if verdict != SOUND:
        return verdict
    set_sequence(tcb)
    if is_over(slot.state):
        show(tcb)
        return SOUND
    cdef uint32_t before = lookup(&stack.tcp, &slot.key)
    if not before & TW_BIT:
        return Counter.RECOVER_DUPLICATE
    verdict = resume_handshake(stack, tcb) if is_opening(slot.state) else resume_stream(stack, tcb)
    if verdict != SOUND:
        return verdict
    lookup_insert(&stack.tcp, tcb)
    show(tcb)
    if before != NO_INDEX:
        settle_wait(stack, tcb, before & ~TW_BIT)
    return SOUND


cdef void begin(Stack* stack, Tcb* tcb) noexcept nogil:
    cdef uint32_t index = <uint32_t>(tcb - stack.tcp.tcbs)
    cdef ConnSlot* slot = &stack.slots[index]
    memset(tcb, 0, sizeof(Tcb))
    tcb.index = index
    tcb.slot = slot
    tcb.event.event.conn = <int32_t>index
    tcb.heard_at = stack.now
    tcb.sent_at = stack.now
    tcb.rto_us = INITIAL_RTO_US
    tcb.snd_una = slot.iss
    tcb.snd_nxt = slot.iss
    tcb.rcv_nxt = slot.irs + 1
    timers_reset(tcb)
    count_add(stack, Counter.TCP_CONNECTIONS, 1)
    if awaits_accept(slot) and has_listener(stack, slot):
        stack.tcp.listeners[slot.listener].pending += 1
        tcb.event.event.listener_sock = stack.listeners[slot.listener].sock


cdef bint awaits_accept(ConnSlot* slot) noexcept nogil:
    return slot.flags & (SLOT_PASSIVE | SLOT_ACCEPTED) == SLOT_PASSIVE


cdef bint has_listener(Stack* stack, ConnSlot* slot) noexcept nogil:
    return slot.listener < stack.config.max_listeners and stack.listeners[slot.listener].used != 0


cdef uint32_t check_owner(Stack* stack, Tcb* tcb) noexcept nogil:
    """Its socket, and its listener while it waits there."""
    cdef ConnSlot* slot = tcb.slot
    cdef Channel* channel
    cdef bint orphaned = awaits_accept(slot) and not has_listener(stack, slot)
    if is_half_open(slot):
        # Its socket counts from the state that comes after listen_establish().
        if slot.flags & SLOT_ACCEPTED:
            return Counter.RECOVER_BAD_STATE
        return Counter.RECOVER_NO_LISTENER if orphaned else SOUND
    if not slot.flags & SLOT_HAS_SOCK:
        return Counter.RECOVER_BAD_SOCK
    channel = channel_of(stack, slot.app)
    if channel == NULL:
        return Counter.RECOVER_NO_CHANNEL
    if not sock_resume(channel, slot.sock, NEAT_SOCK_TCP, <int32_t>tcb.index, slot.generation):
        return Counter.RECOVER_BAD_SOCK
    tcb.channel = channel
    tcb.sock = &channel.socks[slot.sock]
    tcb.rx_ring = sock_rx_ring(channel, slot.sock)
    tcb.tx_ring = sock_tx_ring(channel, slot.sock)
    tcb.rx_size = channel.rx_size
    tcb.tx_size = channel.tx_size
    tcb.event.event.app = slot.app
    tcb.event.event.sock = slot.sock
    tcb.event.event.generation = slot.generation
    tcb.flags = TF_KNOWN
    if orphaned:
        if not load32(&tcb.sock.request) & NEAT_REQ_ACCEPTED:
            return Counter.RECOVER_NO_LISTENER
        slot.flags |= SLOT_ACCEPTED  # before the listener was closed, as in close_at()
    return SOUND


cdef uint32_t check_state(ConnSlot* slot) noexcept nogil:
    """Flags are stored before the state that follows from them: take the step that was left out, then look
    whether they agree."""
    cdef uint32_t state = slot.state
    cdef bint queued = slot.flags & SLOT_FIN_QUEUED != 0
    cdef bint acked = slot.flags & SLOT_FIN_ACKED != 0
    cdef bint seen = slot.flags & SLOT_FIN_SEEN != 0
    if is_over(state) or is_opening(state):
        return SOUND
    if queued and state == TcpState.ESTABLISHED:
        state = TcpState.FIN_WAIT_1
    elif queued and state == TcpState.CLOSE_WAIT:
        state = TcpState.LAST_ACK
    if acked and state == TcpState.FIN_WAIT_1:
        state = TcpState.FIN_WAIT_2
    if seen and state == TcpState.ESTABLISHED:
        state = TcpState.CLOSE_WAIT
    elif seen and state == TcpState.FIN_WAIT_1:
        state = TcpState.CLOSING
    cdef bint agrees = (
        (state == TcpState.ESTABLISHED and not queued and not acked and not seen)
        or (state == TcpState.CLOSE_WAIT and not queued and not acked and seen)
        or (state == TcpState.FIN_WAIT_1 and queued and not acked and not seen)
        or (state == TcpState.FIN_WAIT_2 and queued and acked)
        or ((state == TcpState.CLOSING or state == TcpState.LAST_ACK) and queued and seen)
    )
    if not agrees or not slot.flags & SLOT_SYN_ACKED:
        return Counter.RECOVER_BAD_STATE
    if state != slot.state:
        store32(&slot.state, state)
    return SOUND


cdef uint32_t check_options(Stack* stack, ConnSlot* slot) noexcept nogil:
    most = <uint32_t>stack.config.mtu - IP_TCP_HEADERS
    if (
        slot.snd_wscale > MAX_WSCALE
        or slot.rcv_wscale > MAX_WSCALE
        or slot.snd_mss < LEAST_MSS
        or slot.rcv_mss < LEAST_MSS
    ):
        return Counter.RECOVER_BAD_OPTIONS
    if slot.snd_mss > most:
        slot.snd_mss = <uint16_t>most  # the setting may have changed
    return SOUND


cdef void set_sequence(Tcb* tcb) noexcept nogil:
    """The stream offsets are the sequence numbers."""
    cdef ConnSlot* slot = tcb.slot
    if slot.flags & SLOT_SYN_ACKED and not is_opening(slot.state):
        tcb.snd_una = slot.iss + 1 + <uint32_t>slot.tx_head + (1 if slot.flags & SLOT_FIN_ACKED else 0)
        tcb.rcv_nxt = slot.irs + 1 + <uint32_t>slot.rx_tail + (1 if slot.flags & SLOT_FIN_SEEN else 0)
    tcb.snd_nxt = tcb.snd_una
    tcb.snd_small = tcb.snd_una
    tcb.last_ack_sent = tcb.rcv_nxt
    tcb.rx_head = 0
    tcb.tx_tail = slot.tx_head
    if slot.flags & SLOT_FIN_QUEUED:
        tcb.tx_tail = slot.tx_fin
    tcb.srtt_us = slot.srtt_us
    tcb.rttvar_us = slot.rttvar_us


cdef uint32_t resume_handshake(Stack* stack, Tcb* tcb) noexcept nogil:
    """SYN or SYN-ACK once more, as it may never have left."""
    cdef ConnSlot* slot = tcb.slot
    cdef Channel* channel = <Channel*>tcb.channel
    cdef uint32_t rcvbuf
    slot.flags &= ~SLOT_SYN_ACKED
    if slot.snd_max - slot.iss > 1 or slot.tx_head or slot.rx_tail:
        return Counter.RECOVER_BAD_OFFSETS
    if tcb.sock == NULL:
        channel = <Channel*>stack.tcp.listeners[slot.listener].channel
        rcvbuf = peek32(&channel.socks[stack.listeners[slot.listener].sock].rcvbuf)
        if slot.rcv_adv - tcb.rcv_nxt > min(channel.rx_size, <uint32_t>65535):
            slot.rcv_adv = tcb.rcv_nxt  # else what our SYN-ACK said, which may be answered with text at once
    else:
        rcvbuf = peek32(&tcb.sock.rcvbuf)
    if slot.state == TcpState.SYN_SENT:
        # What the peer's SYN made of our offer does not count before the state that says so.
        handshake_offer(stack, tcb, channel.rx_size, rcvbuf, peek32(&tcb.sock.maxseg))
        tcb.rcv_nxt = 0
        tcb.last_ack_sent = 0
    window_begin(tcb, rcvbuf, channel.rx_size)
    tcb.rcv_seg = min(<uint32_t>slot.rcv_mss, <uint32_t>536)
    if slot.flags & SLOT_DEFERRED:
        tcb.flags |= TF_DEFERRED
        timer_set(&stack.tcp, tcb, TIMER_RETRANSMIT, listen_deferral(stack, tcb))
    else:
        tcb.flags |= TF_SEND_SYN
    return SOUND


cdef uint32_t resume_stream(Stack* stack, Tcb* tcb) noexcept nogil:
    """A synchronized state: check offsets against each other and the rings; the estimates begin anew."""
    cdef ConnSlot* slot = tcb.slot
    cdef uint64_t used
    tcb.rx_head = load64(&tcb.sock.rx_head)
    used = slot.rx_tail - tcb.rx_head
    if not slot.flags & SLOT_FIN_QUEUED:
        tcb.tx_tail = load64(&tcb.sock.tx_tail)
    if (
        used > tcb.rx_size
        or slot.rcv_adv - tcb.rcv_nxt > tcb.rx_size - used + 1
        or tcb.tx_tail - slot.tx_head > tcb.tx_size
        or slot.snd_max - tcb.snd_una > pending(tcb) + (1 if fin_waits(tcb) else 0)
        or (slot.flags & SLOT_FIN_ACKED and slot.tx_head != slot.tx_fin)
        or (slot.flags & SLOT_FIN_SEEN and slot.rx_tail != slot.rx_fin)
    ):
        return Counter.RECOVER_BAD_OFFSETS
    window_begin(tcb, peek32(&tcb.sock.rcvbuf), tcb.rx_size)
    while tcb.rcv_space < used + (slot.rcv_adv - tcb.rcv_nxt) and tcb.rcv_space < tcb.rx_size:
        tcb.rcv_space *= 2  # what was promised once
    tcb.rcv_seg = min(<uint32_t>slot.rcv_mss, <uint32_t>536)
    tcb.max_window = slot.snd_wnd
    ooo_resume(tcb)
    if slot.flags & SLOT_FIN_EARLY and slot.rx_fin - slot.rx_tail <= tcb.rx_size:
        tcb.flags |= TF_FIN_WAITS
        tcb.fin_seq = tcb.rcv_nxt + <uint32_t>(slot.rx_fin - slot.rx_tail)
    congestion_start(tcb)
    if slot.snd_max != tcb.snd_una:
        tcb.recover = slot.snd_max  # duplicates of what is sent again are no news (RFC 6582 §4.1)
    rto_restore(stack, tcb)
    return SOUND


cdef void settle_wait(Stack* stack, Tcb* tcb, uint32_t wait) noexcept nogil:
    """An entry of the TIME-WAIT table has the same key: it gives way to what opens, and stands for what was
    synchronized, as each of the two was stored before the other went."""
    if is_opening(tcb.slot.state):
        wait_replace(stack, wait)
    else:
        conn_over(stack, tcb, 0, True)


cdef void show(Tcb* tcb) noexcept nogil:
    """The replica's lines of the socket object, from what the slot says."""
    cdef ConnSlot* slot = tcb.slot
    cdef neat_sock* sock = tcb.sock
    if sock == NULL:
        return
    if slot.flags & SLOT_SYN_ACKED and not is_opening(slot.state):
        tcb.status |= NEAT_ST_CONNECTED
    elif not slot.flags & SLOT_PASSIVE:
        tcb.status |= NEAT_ST_CONNECTING
    if slot.flags & SLOT_FIN_SEEN:
        tcb.status |= NEAT_ST_RDHUP | NEAT_ST_FIN
    if slot.flags & SLOT_FIN_QUEUED:
        tcb.status |= NEAT_ST_WRCLOSED
    if slot.flags & SLOT_ORPHAN:
        tcb.status |= NEAT_ST_ORPHAN
    if is_over(slot.state):
        tcb.status |= NEAT_ST_CLOSED | NEAT_ST_RDHUP | NEAT_ST_WRCLOSED
        if slot.error:
            tcb.status |= NEAT_ST_ERROR
            tcb.errors = 1
            tcb.event.event.error = slot.error
            sock.error = slot.error
            store32(&sock.error_count, 1)
    put_address(&sock.local, &slot.key, slot.key.local, slot.key.local_port)
    put_address(&sock.remote, &slot.key, slot.key.remote, slot.key.remote_port)
    sock.tcp_state = <uint8_t>slot.state
    store64(&sock.rx_tail, slot.rx_tail)
    store64(&sock.tx_head, slot.tx_head)
    store32(&sock.status, tcb.status)


cdef void give_up(Stack* stack, Tcb* tcb, uint32_t verdict) noexcept nogil:
    """It cannot go on: its peer hears of it where the slot says who that is, its application where it has a
    socket."""
    cdef ConnSlot* slot = tcb.slot
    set_sequence(tcb)
    if key_is_sound(stack, &slot.key) and not is_over(slot.state) and slot.state != TcpState.SYN_SENT:
        respond_abort(stack, tcb)
    if awaits_accept(slot) and not has_listener(stack, slot):
        store32(&slot.state, TcpState.FREE)
        slot.flags |= SLOT_ACCEPTED  # it counts against nobody's backlog
    if tcb.sock == NULL or slot.state == TcpState.FREE:
        conn_free(stack, tcb)
    elif is_over(slot.state):
        show(tcb)
    else:
        show(tcb)
        conn_over(stack, tcb, ECONNABORTED, False)
