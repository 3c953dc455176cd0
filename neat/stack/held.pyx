"""Packets that are held, in a few slots of their own. One that no neighbour will ever take is kept as well,
until its component has heard of it (forward.pyx)."""

from libc.errno cimport EAGAIN, ENETUNREACH, ENOMEM
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from neat.stack.config cimport PART_IP
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport (
    HELD_FAILED, HELD_FREE, HELD_READY, HELD_SLOTS, HELD_WAITING, Held, load_address,
)
from neat.stack.types cimport Stack, count
from neat.wire.headers cimport PROTO_TCP, PROTO_UDP, EthernetHeader
from neat.wire.vnet cimport VNET_BYTES

cdef enum:                          # codes of ICMP_UNREACHABLE
    NET_UNREACHABLE = 0
    HOST_UNREACHABLE = 1


cdef int held_create(Stack* stack) noexcept nogil:
    cdef uint32_t i
    if stack.config.part != PART_IP:
        return 0
    stack.ip.held_room = VNET_BYTES + sizeof(EthernetHeader) + stack.config.mtu
    stack.ip.held = <Held*>calloc(HELD_SLOTS, sizeof(Held))
    stack.ip.held_memory = <uint8_t*>calloc(HELD_SLOTS, stack.ip.held_room)
    if stack.ip.held == NULL or stack.ip.held_memory == NULL:
        return -ENOMEM
    for i in range(<uint32_t>HELD_SLOTS):
        stack.ip.held[i].record = stack.ip.held_memory + i * stack.ip.held_room
    return 0


cdef void held_destroy(Stack* stack) noexcept nogil:
    free(stack.ip.held)
    free(stack.ip.held_memory)
    stack.ip.held = NULL


cdef bint hand_up(Stack* stack, uint8_t protocol) noexcept nogil:
    if protocol != PROTO_TCP and protocol != PROTO_UDP:
        return False
    stack.ip.handed = protocol
    count(stack, Counter.IP_HANDED_UP)
    return True


cdef void held_keep(
    Stack* stack, const uint8_t* record, uint32_t length, uint8_t protocol, uint32_t hop, int32_t error
) noexcept nogil:
    """Until its neighbour answers; or, if none will, until its component hears of it."""
    cdef uint32_t i
    cdef bint waits = error == -EAGAIN
    for i in range(<uint32_t>HELD_SLOTS):
        held = &stack.ip.held[i]
        if held.state == HELD_FREE and (length <= stack.ip.held_room or not waits):
            held.length = min(length, stack.ip.held_room)
            held.hop, held.protocol = hop, protocol
            memcpy(held.record, record, held.length)
            if waits:
                held.state = HELD_WAITING
            else:
                fail(stack, held, NET_UNREACHABLE if error == -ENETUNREACH else HOST_UNREACHABLE)
            return
    count(stack, Counter.IP_UNRESOLVED)


cdef void fail(Stack* stack, Held* held, uint8_t code) noexcept nogil:
    held.state, held.code = HELD_FAILED, code
    stack.ip.failed += 1


cdef void held_neighbour_ready(Stack* stack, const uint8_t* address, const uint8_t* mac) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t hop = load_address(address)
    if stack.ip.held == NULL:
        return
    for i in range(<uint32_t>HELD_SLOTS):
        held = &stack.ip.held[i]
        if held.state != HELD_WAITING or held.hop != hop:
            continue
        if mac == NULL:
            fail(stack, held, HOST_UNREACHABLE)
            continue
        eth = <EthernetHeader*>(held.record + VNET_BYTES)
        memcpy(eth.destination, mac, 6)
        memcpy(eth.source, stack.config.mac, 6)
        held.state = HELD_READY
        stack.ip.ready += 1


cdef uint32_t held_poll(Stack* stack, uint8_t* buffer) noexcept nogil:
    cdef uint32_t i
    for i in range(<uint32_t>HELD_SLOTS):
        held = &stack.ip.held[i]
        if held.state == HELD_READY:
            held.state = HELD_FREE
            stack.ip.ready -= 1
            memcpy(buffer, held.record, held.length)
            count(stack, Counter.IP_FORWARDED)
            return held.length
    return 0
