"""Keepalive (RFC 9293 §3.8.4): off unless the application asks for it."""

from libc.stdint cimport uint32_t, uint64_t
from neat.shm.atomic cimport peek32
from neat.stack.tcp.deadlines cimport timer_due, timer_runs
from neat.stack.tcp.types cimport SECOND, TIMER_KEEP, Tcb
from neat.stack.types cimport Stack

cdef enum:
    KEEP_IDLE_S = 7200              # RFC 9293 §3.8.4: "MUST default to no less than two hours"
    KEEP_INTERVAL_S = 75
    KEEP_PROBES = 9

cdef inline uint64_t keep_idle(Tcb* tcb) noexcept nogil:
    cdef uint32_t s = peek32(&tcb.sock.keep_idle_s)
    return (s if 0 < s <= 32767 else KEEP_IDLE_S) * SECOND

cdef inline uint64_t keep_interval(Tcb* tcb) noexcept nogil:
    cdef uint32_t s = peek32(&tcb.sock.keep_intvl_s)
    return (s if 0 < s <= 32767 else KEEP_INTERVAL_S) * SECOND

cdef inline uint32_t keep_probes(Tcb* tcb) noexcept nogil:
    cdef uint32_t n = peek32(&tcb.sock.keep_cnt)
    return n if 0 < n <= 127 else KEEP_PROBES

# Not started yet, or the idle time became shorter since.
cdef inline bint keepalive_is_late(Tcb* tcb) noexcept nogil:
    if not timer_runs(tcb, TIMER_KEEP):
        return True
    return tcb.keep_probes == 0 and not timer_due(tcb, TIMER_KEEP, tcb.heard_at + keep_idle(tcb))

# Start or stop the timer as the socket's options say now.
cdef void keepalive_start(Stack* stack, Tcb* tcb) noexcept nogil
