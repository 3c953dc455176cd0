"""Keepalive: off unless the application asks for it."""

from libc.stdint cimport uint64_t
from neat.abi.channel cimport NEAT_OPT_KEEPALIVE
from neat.shm.atomic cimport peek32
from neat.stack.tcp.deadlines cimport timer_clear, timer_runs, timer_set
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.types cimport TIMER_KEEP, Tcb
from neat.stack.types cimport Stack


cdef void keepalive_start(Stack* stack, Tcb* tcb) noexcept nogil:
    if tcb.sock == NULL or not peek32(&tcb.sock.options) & NEAT_OPT_KEEPALIVE:
        timer_clear(tcb, TIMER_KEEP)
        return
    if tcb.slot.state == TcpState.SYN_SENT or tcb.slot.state == TcpState.SYN_RCVD:
        return
    # As on Linux: a new idle time counts from the last segment, the option from when it was set.
    cdef uint64_t since = tcb.heard_at if timer_runs(tcb, TIMER_KEEP) else stack.now
    timer_set(&stack.tcp, tcb, TIMER_KEEP, since + keep_idle(tcb))
