"""When the next timer of any connection is due: a binary heap of connections by their earliest deadline.

Setting a timer later or clearing it touches only the Tcb; the heap learns of it when the old time comes up.
So what every segment does to its timers is a store, and the heap moves rarely."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.tcp.types cimport NEVER, Tcb, TcpPrivate

cdef void heap_earlier(TcpPrivate* tcp, Tcb* tcb, uint64_t deadline) noexcept nogil

cdef inline void timer_set(TcpPrivate* tcp, Tcb* tcb, uint32_t which, uint64_t deadline) noexcept nogil:
    tcb.deadline[which] = deadline
    if deadline < tcb.heap_key:
        heap_earlier(tcp, tcb, deadline)

cdef inline void timer_clear(Tcb* tcb, uint32_t which) noexcept nogil:
    tcb.deadline[which] = NEVER

cdef inline bint timer_runs(Tcb* tcb, uint32_t which) noexcept nogil:
    return tcb.deadline[which] != NEVER

cdef inline bint timer_due(Tcb* tcb, uint32_t which, uint64_t now) noexcept nogil:
    return tcb.deadline[which] <= now

cdef void timers_reset(Tcb* tcb) noexcept nogil                        # of a Tcb that is not in the heap
cdef void timers_stop(TcpPrivate* tcp, Tcb* tcb) noexcept nogil        # clear all and leave the heap
# The exact next deadline of any connection, NEVER if there is none.
cdef uint64_t heap_next(TcpPrivate* tcp) noexcept nogil
# The connection that is due at `now`, NULL when none is. Caller must fire or move its timers before it asks
# again.
cdef Tcb* heap_due(TcpPrivate* tcp, uint64_t now) noexcept nogil
