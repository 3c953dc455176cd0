"""Local ports of the connections that we open: the next one of ours that is free."""

from libc.errno cimport EADDRNOTAVAIL, EINVAL, ENOMEM
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memset
from neat.shm.atomic cimport store64
from neat.stack.counters cimport Counter
from neat.stack.state cimport SLOT_PASSIVE
from neat.stack.tcp.isn cimport port_hash
from neat.stack.tcp.listen cimport port_listens
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.timewait cimport wait_gives_way
from neat.stack.tcp.types cimport NO_INDEX, PORT_COUNTERS, TW_BIT
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FlowKey


cdef inline bint is_in(uint64_t share, uint32_t port) noexcept nogil:
    cdef uint32_t replicas = <uint32_t>share
    return replicas != 0 and port % replicas == <uint32_t>(share >> 32)


cdef inline bint port_is_held(Stack* stack, uint32_t port) noexcept nogil:
    cdef uint32_t word = (port >> 6) - (stack.config.port_low >> 6)
    return (stack.state.ports.held[word] >> (port & 63)) & 1


cdef int ports_create(Stack* stack) noexcept nogil:
    stack.tcp.port_counters = <uint32_t*>calloc(PORT_COUNTERS, sizeof(uint32_t))
    return -ENOMEM if stack.tcp.port_counters == NULL else 0


cdef int ports_narrow(Stack* stack, uint32_t rank, uint32_t replicas) noexcept nogil:
    if (rank >= replicas and replicas != 0) or replicas > 0xFFFF:
        return -EINVAL
    store64(&stack.state.ports.narrowed, <uint64_t>rank << 32 | replicas)
    return 0


cdef int ports_share(Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t low = stack.config.port_low >> 6
    cdef uint32_t words = (stack.config.port_high >> 6) - low + 1
    if ports_narrow(stack, rank, replicas) < 0:
        return -EINVAL
    share = &stack.state.ports
    for i in range(words):
        share.held[i] = held[low + i] if held != NULL else 0
    store64(&share.mine, share.narrowed)
    return 0


cdef void ports_in_use(Stack* stack, uint64_t* used) noexcept nogil:
    cdef uint32_t i, port
    memset(used, 0, 1024 * sizeof(uint64_t))
    for i in range(stack.state.slots_used):
        slot = &stack.slots[i]
        if slot.state != TcpState.FREE and not slot.flags & SLOT_PASSIVE:
            port = slot.key.local_port
            used[port >> 6] |= <uint64_t>1 << (port & 63)
    for i in range(stack.state.waits_used):
        if stack.tcp.waits[i].state:
            port = stack.tcp.waits[i].key.local_port
            used[port >> 6] |= <uint64_t>1 << (port & 63)


cdef int port_choose(Stack* stack, FlowKey* key) noexcept nogil:
    """RFC 6056 §3.3.4, "Double-Hash Port Selection": where the search starts depends on the destination, and
    so does the counter that moves it. A destination sees no more than its own connections of our ports, and a
    port comes again only when all others of ours were used for it, so TIME-WAIT is rarely met."""
    cdef uint32_t i, port
    share = &stack.state.ports
    cdef uint32_t step = max(<uint32_t>share.narrowed, 1)
    cdef uint32_t rank = <uint32_t>(share.narrowed >> 32)
    cdef uint32_t low = stack.config.port_low
    cdef uint32_t first = low + (step + rank - low % step) % step
    if <uint32_t>share.narrowed == 0 or first > stack.config.port_high:
        count(stack, Counter.TCP_NO_PORT)
        return -EADDRNOTAVAIL
    cdef uint32_t n = (stack.config.port_high - first) // step + 1
    cdef uint64_t mixed = port_hash(stack, key)
    cdef uint32_t* counter = &stack.tcp.port_counters[mixed & (PORT_COUNTERS - 1)]
    cdef uint64_t start = (mixed >> 32) + counter[0]
    for i in range(n):
        port = first + <uint32_t>((start + i) % n) * step
        if port_is_held(stack, port) or not is_in(share.mine, port):
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
