"""What a connection does when one of its timers fires."""

import cython
from cython.cimports.libc.errno import ETIMEDOUT
from cython.cimports.libc.stdint import uint32_t


def tcp_next_deadline(stack):
    return heap_next(cython.address(stack.tcp))


def tcp_expire(stack):
    tcp = cython.address(stack.tcp)
    while True:
        tcb = heap_due(tcp, stack.now)
        if tcb == cython.NULL:
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


def give_up(stack, tcb):
    respond_abort(stack, tcb)
    conn_over(stack, tcb, ETIMEDOUT, False)


def user_timeout(tcb):
    if tcb.sock == cython.NULL:
        return 0
    return peek32(cython.address(tcb.sock.user_timeout_ms)) * MILLISECOND


def try_again(stack, tcb, timer):
    """As Linux does it (tcp_clamp_rto_to_user_timeout): the last wait is cut short, so that the user timeout
    ends when it should."""
    wait = tcb.rto_us * MICROSECOND
    limit = user_timeout(tcb)
    if limit:
        spent = stack.now - tcb.stalled_since
        wait = min(wait, limit - spent if limit > spent + MILLISECOND else MILLISECOND)
    timer_set(cython.address(stack.tcp), tcb, timer, stack.now + wait)


def is_too_long(stack, tcb, first):
    """tcp(7), TCP_USER_TIMEOUT. As on Linux it counts from `first`, the first retransmission or probe or the
    SYN, and is not over before there was one retransmission or probe."""
    if tcb.stalled_since == 0:
        tcb.stalled_since = first
        return False
    limit = user_timeout(tcb)
    if limit == 0 or stack.now - tcb.stalled_since < limit:
        return False
    count(stack, Counter.TCP_USER_TIMEOUT)
    return True


def has_patience(stack, tcb):
    if is_too_long(stack, tcb, stack.now):
        return False
    most = stack.config.data_retries
    if tcb.slot.flags & SLOT_ORPHAN:
        most = min(most, cython.cast(uint32_t, ORPHAN_RETRIES))
    if tcb.retries > most and user_timeout(tcb) == 0:
        count(stack, Counter.TCP_TIMED_OUT)
        return False
    return True


def syn_retries(stack, tcb):
    """TCP_SYNCNT; a listener's is that of its SYN-ACKs (Linux)."""
    n = 0
    if tcb.sock != cython.NULL:
        n = tcb.sock.syn_retries
    elif tcb.slot.flags & SLOT_PASSIVE:
        channel = cython.cast(cython.pointer(Channel), stack.tcp.listeners[tcb.slot.listener].channel)
        n = channel.socks[stack.listeners[tcb.slot.listener].sock].syn_retries
    return n if 0 < n <= MOST_SYN_RETRIES else stack.config.syn_retries


def handshake_fires(stack, tcb):
    if tcb.retries > syn_retries(stack, tcb) or is_too_long(stack, tcb, tcb.slot.opened_at):
        count(stack, Counter.TCP_SYN_TIMEOUT)
        conn_over(stack, tcb, ETIMEDOUT, False)
        return False
    count(stack, Counter.TCP_RETRANSMITS)
    tcb.retransmits += 1
    tcb.flags |= TF_SEND_SYN
    return True


def retransmit_fires(stack, tcb):
    """RFC 6298 §5.4: "Retransmit the earliest segment"; §5.5: back off; §5.6: start the timer."""
    slot = tcb.slot
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


def persist_fires(stack, tcb):
    """Probe a closed window while the peer answers (RFC 9293 §3.8.6.1); override silly windows and corks."""
    if not has_unsent(tcb) and tcb.snd_una == tcb.snd_max:
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


def is_gone(stack, tcb):
    """tcp(7), TCP_USER_TIMEOUT: with keepalive it "will override keepalive to determine when to close"."""
    limit = user_timeout(tcb)
    if limit:
        return tcb.keep_probes > 0 and stack.now - tcb.heard_at >= limit
    return tcb.keep_probes >= keep_probes(tcb)


def keep_fires(stack, tcb):
    if tcb.sock == cython.NULL or timer_runs(tcb, TIMER_RETRANSMIT) or timer_runs(tcb, TIMER_PERSIST):
        # What is outstanding asks the peer anyway.
        timer_set(cython.address(stack.tcp), tcb, TIMER_KEEP, stack.now + keep_interval(tcb))
        return True
    if not peek32(cython.address(tcb.sock.options)) & NEAT_OPT_KEEPALIVE:
        tcb.keep_probes = 0
        return True
    if stack.now < tcb.heard_at + keep_idle(tcb) and tcb.keep_probes == 0:
        timer_set(cython.address(stack.tcp), tcb, TIMER_KEEP, tcb.heard_at + keep_idle(tcb))
        return True
    if is_gone(stack, tcb):
        count(stack, Counter.TCP_KEEPALIVE_FAILED)
        give_up(stack, tcb)
        return False
    tcb.keep_probes += 1
    tcb.flags |= TF_KEEPALIVE
    count(stack, Counter.TCP_KEEPALIVE_PROBES)
    timer_set(cython.address(stack.tcp), tcb, TIMER_KEEP, stack.now + keep_interval(tcb))
    return True
