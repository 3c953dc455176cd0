"""Keepalive: off unless the application asks for it."""

import cython


def keepalive_start(stack, tcb):
    if tcb.sock == cython.NULL or not peek32(cython.address(tcb.sock.options)) & NEAT_OPT_KEEPALIVE:
        timer_clear(tcb, TIMER_KEEP)
        return
    if tcb.slot.state == TcpState.SYN_SENT or tcb.slot.state == TcpState.SYN_RCVD:
        return
    timer_set(cython.address(stack.tcp), tcb, TIMER_KEEP, tcb.heard_at + keep_idle(tcb))
