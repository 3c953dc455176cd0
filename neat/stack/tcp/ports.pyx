"""Local ports of the connections that we open: the next one of ours that is free."""

from libc.errno cimport EADDRNOTAVAIL, EINVAL, ENOMEM
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.tcp.isn cimport port_hash
from neat.stack.tcp.listen cimport port_listens
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.timewait cimport wait_gives_way
from neat.stack.tcp.types cimport NO_INDEX, PORT_COUNTERS, TW_BIT
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FlowKey


cdef inline bint port_is_held(Stack* stack, uint32_t port) noexcept nogil:
    return (stack.tcp.held_ports[port >> 6] >> (port & 63)) & 1


cdef int ports_create(Stack* stack) noexcept nogil:
    stack.tcp.port_counters = <uint32_t*>calloc(PORT_COUNTERS, sizeof(uint32_t))
    return -ENOMEM if stack.tcp.port_counters == NULL else 0


cdef int ports_share(Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held) noexcept nogil:
    if rank >= replicas or replicas > 0xFFFF:
        return -EINVAL
    memset(stack.tcp.held_ports, 0, sizeof(stack.tcp.held_ports))
    if held != NULL:
        memcpy(stack.tcp.held_ports, held, sizeof(stack.tcp.held_ports))
    stack.config.replica = <uint16_t>rank
    stack.config.replicas = <uint16_t>replicas
    return 0


cdef int port_choose(Stack* stack, FlowKey* key) noexcept nogil:
    """RFC 6056 §3.3.4, "Double-Hash Port Selection": where the search starts depends on the destination, and
    so does the counter that moves it. A destination sees no more than its own connections of our ports, and a
    port comes again only when all others of ours were used for it, so TIME-WAIT is rarely met."""
    cdef uint32_t i, port
    cdef uint32_t step = stack.config.replicas
    cdef uint32_t low = stack.config.port_low
    cdef uint32_t first = low + (step + stack.config.replica - low % step) % step
    if first > stack.config.port_high:
        count(stack, Counter.TCP_NO_PORT)
        return -EADDRNOTAVAIL
    cdef uint32_t n = (stack.config.port_high - first) // step + 1
    cdef uint64_t mixed = port_hash(stack, key)
    cdef uint32_t* counter = &stack.tcp.port_counters[mixed & (PORT_COUNTERS - 1)]
    cdef uint64_t start = (mixed >> 32) + counter[0]
    for i in range(n):
        port = first + <uint32_t>((start + i) % n) * step
        if port_is_held(stack, port):
            continue
        key.local_port = <uint16_t>port
        if port_is_free(stack, key) and not port_listens(stack, key.local_port):
            counter[0] += i + 1
            return 0
    count(stack, Counter.TCP_NO_PORT)
    return -EADDRNOTAVAIL


cdef bint port_is_free(Stack* stack, const FlowKey* key) noexcept nogil:
    cdef uint32_t at = lookup(&stack.tcp, key)
    if at == NO_INDEX:
        return True
    return at & TW_BIT != 0 and wait_gives_way(stack, at & ~TW_BIT)
