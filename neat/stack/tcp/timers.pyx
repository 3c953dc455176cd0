"""What a connection does when one of its timers fires."""

from libc.errno cimport ETIMEDOUT
from libc.stdint cimport uint32_t, uint64_t
from neat.abi.channel cimport NEAT_OPT_KEEPALIVE
from neat.shm.atomic cimport peek32
from neat.stack.counters cimport Counter
from neat.stack.state cimport SLOT_ORPHAN, SLOT_PASSIVE, ConnSlot
from neat.stack.tcp.congestion cimport congestion_timeout
from neat.stack.tcp.connection cimport conn_over
from neat.stack.tcp.deadlines cimport heap_due, heap_next, timer_clear, timer_due, timer_runs, timer_set
from neat.stack.tcp.keepalive cimport keep_idle, keep_interval, keep_probes
from neat.stack.tcp.output cimport output_want
from neat.stack.tcp.plan cimport has_unsent
from neat.stack.tcp.respond cimport respond_abort
from neat.stack.tcp.rtt cimport rto_back_off
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.text cimport owe_ack
from neat.stack.tcp.types cimport (
    MICROSECOND, MILLISECOND, TF_FORCE, TF_KEEPALIVE, TF_PROBE, TF_RETRANSMIT, TF_SEND_SYN, TF_TIMING,
    TIMER_DELACK, TIMER_KEEP, TIMER_PERSIST, TIMER_RETRANSMIT, Tcb, TcpPrivate,
)
from neat.stack.types cimport Channel, Stack, count

cdef enum:
    ORPHAN_RETRIES = 8              # timeouts that a connection without descriptor survives
    MOST_SYN_RETRIES = 127          # Linux's MAX_TCP_SYNCNT


cdef uint64_t tcp_next_deadline(Stack* stack) noexcept nogil:
    return heap_next(&stack.tcp)


cdef void tcp_expire(Stack* stack) noexcept nogil:
    cdef Tcb* tcb
    cdef TcpPrivate* tcp = &stack.tcp
    while True:
        tcb = heap_due(tcp, stack.now)
        if tcb == NULL:
            return
        stack.state.suspect.conn = tcb.index
        if timer_due(tcb, TIMER_DELACK, stack.now):
            timer_clear(tcb, TIMER_DELACK)
            count(stack, Counter.TCP_DELAYED_ACKS)
            owe_ack(tcb)
        if timer_due(tcb, TIMER_RETRANSMIT, stack.now):
            timer_clear(tcb, TIMER_RETRANSMIT)
            if not retransmit_fires(stack, tcb):
                continue
        if timer_due(tcb, TIMER_PERSIST, stack.now):
            timer_clear(tcb, TIMER_PERSIST)
            if not persist_fires(stack, tcb):
                continue
        if timer_due(tcb, TIMER_KEEP, stack.now):
            timer_clear(tcb, TIMER_KEEP)
            if not keep_fires(stack, tcb):
                continue
        output_want(stack, tcb)


cdef void give_up(Stack* stack, Tcb* tcb) noexcept nogil:
    respond_abort(stack, tcb)
    conn_over(stack, tcb, ETIMEDOUT, False)


# ns, 0: none
cdef uint64_t user_timeout(Tcb* tcb) noexcept nogil:
    if tcb.sock == NULL:
        return 0
    return peek32(&tcb.sock.user_timeout_ms) * MILLISECOND


# Set that timer for the next retransmission or probe.
cdef void try_again(Stack* stack, Tcb* tcb, uint32_t timer) noexcept nogil:
    """As Linux does it (tcp_clamp_rto_to_user_timeout): the last wait is cut short, so that the user timeout
    ends when it should."""
    cdef uint64_t spent
    cdef uint64_t wait = tcb.rto_us * MICROSECOND
    cdef uint64_t limit = user_timeout(tcb)
    if limit:
        spent = stack.now - tcb.stalled_since
        wait = min(wait, limit - spent if limit > spent + MILLISECOND else MILLISECOND)
    timer_set(&stack.tcp, tcb, timer, stack.now + wait)


# The user timeout (RFC 9293 §3.8.3, RFC 5482) is over.
cdef bint is_too_long(Stack* stack, Tcb* tcb, uint64_t first) noexcept nogil:
    """tcp(7), TCP_USER_TIMEOUT. As on Linux it counts from `first`, the first retransmission or probe or the
    SYN, and is not over before there was one retransmission or probe."""
    if tcb.stalled_since == 0:
        tcb.stalled_since = first
        return False
    cdef uint64_t limit = user_timeout(tcb)
    if limit == 0 or stack.now - tcb.stalled_since < limit:
        return False
    count(stack, Counter.TCP_USER_TIMEOUT)
    return True


# Nobody answered for so long: data_retries timeouts, or the user timeout.
cdef bint has_patience(Stack* stack, Tcb* tcb) noexcept nogil:
    if is_too_long(stack, tcb, stack.now):
        return False
    cdef uint32_t most = stack.config.data_retries
    if tcb.slot.flags & SLOT_ORPHAN:
        most = min(most, <uint32_t>ORPHAN_RETRIES)
    if tcb.retries > most and user_timeout(tcb) == 0:
        count(stack, Counter.TCP_TIMED_OUT)
        return False
    return True


cdef uint32_t syn_retries(Stack* stack, Tcb* tcb) noexcept nogil:
    """TCP_SYNCNT; a listener's is that of its SYN-ACKs (Linux)."""
    cdef Channel* channel
    cdef uint32_t n = 0
    if tcb.sock != NULL:
        n = tcb.sock.syn_retries
    elif tcb.slot.flags & SLOT_PASSIVE:
        channel = <Channel*>stack.tcp.listeners[tcb.slot.listener].channel
        n = channel.socks[stack.listeners[tcb.slot.listener].sock].syn_retries
    return n if 0 < n <= MOST_SYN_RETRIES else stack.config.syn_retries


cdef bint handshake_fires(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.retries > syn_retries(stack, tcb) or is_too_long(stack, tcb, tcb.slot.opened_at):
        count(stack, Counter.TCP_SYN_TIMEOUT)
        conn_over(stack, tcb, ETIMEDOUT, False)
        return False
    count(stack, Counter.TCP_RETRANSMITS)
    count(stack, Counter.TCP_SYN_RETRANSMITS)
    tcb.retransmits += 1
    tcb.flags |= TF_SEND_SYN
    return True


# Each returns False when the connection is gone.
cdef bint retransmit_fires(Stack* stack, Tcb* tcb) noexcept nogil:
    """RFC 6298 §5.4: "Retransmit the earliest segment"; §5.5: back off; §5.6: start the timer."""
    cdef ConnSlot* slot = tcb.slot
    tcb.retries += 1
    tcb.flags &= ~TF_TIMING
    count(stack, Counter.TCP_TIMEOUTS)
    rto_back_off(stack, tcb)
    if slot.state == TcpState.SYN_SENT or slot.state == TcpState.SYN_RCVD:
        if not handshake_fires(stack, tcb):
            return False
    else:
        if not has_patience(stack, tcb):
            give_up(stack, tcb)
            return False
        congestion_timeout(stack, tcb)
        tcb.snd_nxt = tcb.snd_una
        tcb.flags |= TF_RETRANSMIT
    try_again(stack, tcb, TIMER_RETRANSMIT)
    return True


cdef bint persist_fires(Stack* stack, Tcb* tcb) noexcept nogil:
    """Probe a closed window while the peer answers (RFC 9293 §3.8.6.1); override silly windows and corks."""
    if not has_unsent(tcb) and tcb.snd_una == tcb.slot.snd_max:
        return True
    if tcb.slot.snd_wnd != 0:
        tcb.flags |= TF_FORCE
        return True
    tcb.retries += 1
    if not has_patience(stack, tcb):
        give_up(stack, tcb)
        return False
    rto_back_off(stack, tcb)
    tcb.flags |= TF_PROBE
    try_again(stack, tcb, TIMER_PERSIST)
    return True


# Keepalive's verdict on the peer.
cdef bint is_gone(Stack* stack, Tcb* tcb) noexcept nogil:
    """tcp(7), TCP_USER_TIMEOUT: with keepalive it "will override keepalive to determine when to close"."""
    cdef uint64_t limit = user_timeout(tcb)
    if limit:
        return tcb.keep_probes > 0 and stack.now - tcb.heard_at >= limit
    return tcb.keep_probes >= keep_probes(tcb)


cdef bint keep_fires(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.sock == NULL or timer_runs(tcb, TIMER_RETRANSMIT) or timer_runs(tcb, TIMER_PERSIST):
        # What is outstanding asks the peer anyway.
        timer_set(&stack.tcp, tcb, TIMER_KEEP, stack.now + keep_interval(tcb))
        return True
    if not peek32(&tcb.sock.options) & NEAT_OPT_KEEPALIVE:
        tcb.keep_probes = 0
        return True
    if stack.now < tcb.heard_at + keep_idle(tcb) and tcb.keep_probes == 0:
        timer_set(&stack.tcp, tcb, TIMER_KEEP, tcb.heard_at + keep_idle(tcb))
        return True
    if is_gone(stack, tcb):
        count(stack, Counter.TCP_KEEPALIVE_FAILED)
        give_up(stack, tcb)
        return False
    tcb.keep_probes += 1
    tcb.flags |= TF_KEEPALIVE
    count(stack, Counter.TCP_KEEPALIVE_PROBES)
    timer_set(&stack.tcp, tcb, TIMER_KEEP, stack.now + keep_interval(tcb))
    return True
