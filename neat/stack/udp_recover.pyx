"""Going on with the UDP binds that a predecessor left."""

from libc.stdint cimport int32_t, uint32_t
from neat.abi.channel cimport NEAT_SOCK_UDP, neat_sock
from neat.shm.atomic cimport load32, store32, store64
from neat.stack.channels cimport channel_of, sock_bury, sock_resume
from neat.stack.config cimport EV_READABLE, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.events cimport event_raise
from neat.stack.ip_private cimport load_address
from neat.stack.state cimport UdpSlot
from neat.stack.types cimport Channel, Stack, count
from neat.stack.udp cimport table_of, udp_begin, udp_command
from neat.wire.flow cimport FAMILY_IPV4


cdef void udp_recover(Stack* stack) noexcept nogil:
    cdef uint32_t i
    cdef UdpSlot* slot
    cdef Channel* channel
    for i in range(stack.config.max_udp):
        slot = &stack.udp_slots[i]
        if slot.used and not resume(stack, i, channel_of(stack, slot.app)):
            count(stack, Counter.RECOVER_BAD_UDP)
            store32(&slot.used, False)
    for i in range(stack.config.max_udp):
        slot = &stack.udp_slots[i]
        channel = channel_of(stack, slot.app) if slot.generation else NULL
        if channel == NULL:
            continue
        if slot.used:
            event_raise(&stack.events, &table_of(stack).binds[i].node, EV_READABLE | EV_WRITABLE)
            udp_command(stack, channel, slot.sock, &channel.socks[slot.sock])
        else:
            sock_bury(channel, slot.sock, slot.generation)


cdef bint resume(Stack* stack, uint32_t i, Channel* channel) noexcept nogil:
    """Go on with a bind that a predecessor left; False: it makes no sense."""
    cdef UdpSlot* slot = &stack.udp_slots[i]
    cdef neat_sock* sock
    address = load_address(slot.address)
    if channel == NULL or slot.port == 0 or slot.family != FAMILY_IPV4:
        return False
    if (address != 0 and address != stack.ip.address) or (slot.rx_tail | slot.tx_head) & 7:
        return False
    if not sock_resume(channel, slot.sock, NEAT_SOCK_UDP, <int32_t>i, slot.generation):
        return False
    udp_begin(stack, <int32_t>i, channel)
    sock = &channel.socks[slot.sock]
    # Only the application reads these.
    table_of(stack).binds[i].errors = load32(&sock.error_count)
    table_of(stack).binds[i].drops = load32(&sock.drops)
    store64(&sock.rx_tail, slot.rx_tail)
    store64(&sock.tx_head, slot.tx_head)
    return True
