"""When the next timer of any connection is due: a binary heap of connections by their earliest deadline."""

import cython


def put(tcp, at, index):
    tcp.heap[at] = index
    tcp.tcbs[index].heap_at = at


def sift_up(tcp, at):
    index = tcp.heap[at]
    key = tcp.tcbs[index].heap_key
    while at > 0:
        parent = (at - 1) // 2
        if tcp.tcbs[tcp.heap[parent]].heap_key <= key:
            break
        put(tcp, at, tcp.heap[parent])
        at = parent
    put(tcp, at, index)


def sift_down(tcp, at):
    index = tcp.heap[at]
    key = tcp.tcbs[index].heap_key
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


def leave(tcp, tcb):
    at = tcb.heap_at
    tcb.heap_at = NO_INDEX
    tcb.heap_key = NEVER
    tcp.heap_size -= 1
    if at == tcp.heap_size:
        return
    last = tcp.heap[tcp.heap_size]
    put(tcp, at, last)
    sift_up(tcp, at)
    sift_down(tcp, tcp.tcbs[last].heap_at)


def heap_earlier(tcp, tcb, deadline):
    tcb.heap_key = deadline
    if tcb.heap_at == NO_INDEX:
        put(tcp, tcp.heap_size, tcb.index)
        tcp.heap_size += 1
    sift_up(tcp, tcb.heap_at)


def timers_reset(tcb):
    tcb.heap_at = NO_INDEX
    tcb.heap_key = NEVER
    for i in range(cython.cast(cython.int, TIMERS)):
        tcb.deadline[i] = NEVER


def timers_stop(tcp, tcb):
    if tcb.heap_at != NO_INDEX:
        leave(tcp, tcb)
    timers_reset(tcb)


def heap_next(tcp):
    """Tops that are stale are put right first: each costs one move, once."""
    while tcp.heap_size > 0:
        tcb = cython.address(tcp.tcbs[tcp.heap[0]])
        exact = earliest(tcb)
        if exact == tcb.heap_key:
            return exact
        if exact == NEVER:
            leave(tcp, tcb)
        else:
            tcb.heap_key = exact
            sift_down(tcp, 0)
    return NEVER


def heap_due(tcp, now):
    if heap_next(tcp) > now:
        return cython.NULL
    return cython.address(tcp.tcbs[tcp.heap[0]])
