"""TCP's private memory: made at birth, freed at the end; and what concerns all connections of a channel."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from neat.stack.tcp.commands cimport tcp_drop
from neat.stack.tcp.isn cimport isn_create
from neat.stack.tcp.listen cimport listen_create, listen_detach
from neat.stack.tcp.ports cimport ports_create
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.timewait cimport wait_create
from neat.stack.tcp.types cimport NO_INDEX, Tcb, TcpPrivate
from neat.stack.types cimport Channel, Stack


cdef int tcp_create(Stack* stack) noexcept nogil:
    cdef TcpPrivate* tcp = &stack.tcp
    cdef uint32_t buckets = 64
    while buckets < 2 * stack.config.max_connections:
        buckets *= 2
    tcp.tcbs = <Tcb*>calloc(stack.config.max_connections, sizeof(Tcb))
    tcp.buckets = <uint32_t*>calloc(buckets, 4)
    tcp.heap = <uint32_t*>calloc(stack.config.max_connections, 4)
    if tcp.tcbs == NULL or tcp.buckets == NULL or tcp.heap == NULL:
        return -ENOMEM
    if listen_create(stack) < 0 or wait_create(stack) < 0 or ports_create(stack) < 0:
        return -ENOMEM
    memset(tcp.buckets, 0xFF, buckets * 4)  # NO_INDEX
    tcp.bucket_mask = buckets - 1
    tcp.queue_first = NO_INDEX
    tcp.queue_last = NO_INDEX
    tcp.waiting_first = NO_INDEX
    tcp.guess = NO_INDEX
    tcp.placed = NO_INDEX
    tcp.first_free = NO_INDEX  # those beyond slots_used are free, and cost no memory yet
    isn_create(stack)
    return 0


cdef void tcp_destroy(Stack* stack) noexcept nogil:
    free(stack.tcp.tcbs)
    free(stack.tcp.buckets)
    free(stack.tcp.heap)
    free(stack.tcp.listeners)
    free(stack.tcp.wait_links)
    free(stack.tcp.port_counters)


cdef void tcp_detach(Stack* stack, Channel* channel) noexcept nogil:
    cdef uint32_t i
    cdef Tcb* tcb
    listen_detach(stack, channel)
    for i in range(stack.state.slots_used):
        tcb = &stack.tcp.tcbs[i]
        if tcb.channel != channel:
            continue
        if tcb.slot.state != TcpState.FREE:
            tcp_drop(stack, tcb)
        tcb.channel = NULL
