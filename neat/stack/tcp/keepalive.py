"""Keepalive: off unless the application asks for it."""

import cython


def keepalive_start(stack, tcb):
    if tcb.sock == cython.NULL or not peek32(cython.address(tcb.sock.options)) & NEAT_OPT_KEEPALIVE:
        timer_clear(tcb, TIMER_KEEP)
        return
    if tcb.slot.state == TcpState.SYN_SENT or tcb.slot.state == TcpState.SYN_RCVD:
        return
    # As on Linux: a new idle time counts from the last segment, the option from when it was set.
    since = tcb.heard_at if timer_runs(tcb, TIMER_KEEP) else stack.now
    timer_set(cython.address(stack.tcp), tcb, TIMER_KEEP, since + keep_idle(tcb))
