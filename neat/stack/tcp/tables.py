"""TCP's private memory: made at birth, freed at the end; and what concerns all connections of a channel."""

import cython
from cython.cimports.libc.errno import ENOMEM
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memset


def tcp_create(stack):
    tcp = cython.address(stack.tcp)
    buckets = 64
    while buckets < 2 * stack.config.max_connections:
        buckets *= 2
    tcp.tcbs = cython.cast(cython.pointer(Tcb), calloc(stack.config.max_connections, cython.sizeof(Tcb)))
    tcp.buckets = cython.cast(cython.pointer(uint32_t), calloc(buckets, 4))
    tcp.heap = cython.cast(cython.pointer(uint32_t), calloc(stack.config.max_connections, 4))
    if tcp.tcbs == cython.NULL or tcp.buckets == cython.NULL or tcp.heap == cython.NULL:
        return -ENOMEM
    if listen_create(stack) < 0 or wait_create(stack) < 0 or ports_create(stack) < 0:
        return -ENOMEM
    memset(tcp.buckets, 0xFF, buckets * 4)  # NO_INDEX
    tcp.bucket_mask = buckets - 1
    tcp.queue_first = NO_INDEX
    tcp.queue_last = NO_INDEX
    tcp.waiting_first = NO_INDEX
    tcp.first_free = 0
    for i in range(stack.config.max_connections):
        tcp.tcbs[i].index = i
        tcp.tcbs[i].slot = cython.address(stack.slots[i])
        tcp.tcbs[i].heap_at = NO_INDEX
        tcp.tcbs[i].free_next = i + 1 if i + 1 < stack.config.max_connections else NO_INDEX
    isn_create(stack)
    return 0


def tcp_destroy(stack):
    free(stack.tcp.tcbs)
    free(stack.tcp.buckets)
    free(stack.tcp.heap)
    free(stack.tcp.listeners)
    free(stack.tcp.waits)
    free(stack.tcp.port_counters)


def tcp_detach(stack, channel):
    listen_detach(stack, channel)
    for i in range(stack.config.max_connections):
        tcb = cython.address(stack.tcp.tcbs[i])
        if tcb.channel != channel:
            continue
        if tcb.slot.state != TcpState.FREE:
            tcp_drop(stack, tcb)
        tcb.channel = cython.NULL
