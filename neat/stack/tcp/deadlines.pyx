"""When the next timer of any connection is due: a binary heap of connections by their earliest deadline."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.tcp.types cimport NEVER, NO_INDEX, TIMERS, Tcb, TcpPrivate


cdef inline uint64_t earliest(Tcb* tcb) noexcept nogil:
    cdef uint64_t first = tcb.deadline[0]
    cdef uint32_t i
    for i in range(1, TIMERS):
        if tcb.deadline[i] < first:
            first = tcb.deadline[i]
    return first


cdef void put(TcpPrivate* tcp, uint32_t at, uint32_t index) noexcept nogil:
    tcp.heap[at] = index
    tcp.tcbs[index].heap_at = at


cdef void sift_up(TcpPrivate* tcp, uint32_t at) noexcept nogil:
    cdef uint32_t parent
    cdef uint32_t index = tcp.heap[at]
    cdef uint64_t key = tcp.tcbs[index].heap_key
    while at > 0:
        parent = (at - 1) // 2
        if tcp.tcbs[tcp.heap[parent]].heap_key <= key:
            break
        put(tcp, at, tcp.heap[parent])
        at = parent
    put(tcp, at, index)


cdef void sift_down(TcpPrivate* tcp, uint32_t at) noexcept nogil:
    cdef uint32_t child
    cdef uint32_t index = tcp.heap[at]
    cdef uint64_t key = tcp.tcbs[index].heap_key
    while True:
        child = 2 * at + 1
        if child >= tcp.heap_size:
            break
        if (
            child + 1 < tcp.heap_size
            and tcp.tcbs[tcp.heap[child + 1]].heap_key < tcp.tcbs[tcp.heap[child]].heap_key
        ):
            child += 1
        if key <= tcp.tcbs[tcp.heap[child]].heap_key:
            break
        put(tcp, at, tcp.heap[child])
        at = child
    put(tcp, at, index)


cdef void leave(TcpPrivate* tcp, Tcb* tcb) noexcept nogil:
    cdef uint32_t at = tcb.heap_at
    tcb.heap_at = NO_INDEX
    tcb.heap_key = NEVER
    tcp.heap_size -= 1
    if at == tcp.heap_size:
        return
    cdef uint32_t last = tcp.heap[tcp.heap_size]
    put(tcp, at, last)
    sift_up(tcp, at)
    sift_down(tcp, tcp.tcbs[last].heap_at)


cdef void heap_earlier(TcpPrivate* tcp, Tcb* tcb, uint64_t deadline) noexcept nogil:
    tcb.heap_key = deadline
    if tcb.heap_at == NO_INDEX:
        put(tcp, tcp.heap_size, tcb.index)
        tcp.heap_size += 1
    sift_up(tcp, tcb.heap_at)


cdef void timers_reset(Tcb* tcb) noexcept nogil:
    tcb.heap_at = NO_INDEX
    tcb.heap_key = NEVER
    for i in range(<int>TIMERS):
        tcb.deadline[i] = NEVER


cdef void timers_stop(TcpPrivate* tcp, Tcb* tcb) noexcept nogil:
    if tcb.heap_at != NO_INDEX:
        leave(tcp, tcb)
    timers_reset(tcb)


cdef uint64_t heap_next(TcpPrivate* tcp) noexcept nogil:
    """Tops that are stale are put right first: each costs one move, once."""
    cdef Tcb* tcb
    cdef uint64_t exact
    while tcp.heap_size > 0:
        tcb = &tcp.tcbs[tcp.heap[0]]
        exact = earliest(tcb)
        if exact == tcb.heap_key:
            return exact
        if exact == NEVER:
            leave(tcp, tcb)
        else:
            tcb.heap_key = exact
            sift_down(tcp, 0)
    return NEVER


cdef Tcb* heap_due(TcpPrivate* tcp, uint64_t now) noexcept nogil:
    if heap_next(tcp) > now:
        return NULL
    return &tcp.tcbs[tcp.heap[0]]
