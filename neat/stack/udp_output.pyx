"""UDP out. A datagram stays in its socket's ring until polled, then aside until its neighbour answers."""

from libc.errno cimport EACCES, EAGAIN, EDESTADDRREQ, EHOSTUNREACH, EINVAL, EMSGSIZE
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.abi.channel cimport NEAT_OPT_BROADCAST, NEAT_OPT_PEER, neat_addr, neat_datagram, neat_sock
from neat.shm.atomic cimport load32, store64
from neat.stack.channels cimport sock_tx_ring
from neat.stack.config cimport EV_WRITABLE, OFFLOAD_CSUM
from neat.stack.counters cimport Counter
from neat.stack.events cimport event_raise
from neat.stack.ip_private cimport load_address
from neat.stack.ipv4 cimport IPV4_OFFSET, L4_OFFSET, ipv4_prepare, ipv4_via, is_broadcast
from neat.stack.state cimport UdpSlot
from neat.stack.types cimport Stack, count
from neat.stack.udp cimport (
    DATAGRAM_HEAD, NO_BIND, UDP_BYTES, WAITING_SLOTS, UdpBind, UdpTable, UdpWaiting, break_off, join_pending,
    leave_pending, padded, report, ring_read, table_of,
)
from neat.wire.checksum cimport checksum_add, checksum_fold, pseudo_header_v4
from neat.wire.flow cimport FAMILY_IPV4
from neat.wire.headers cimport PROTO_UDP, UdpHeader, htons
from neat.wire.vnet cimport VNET_BYTES, VNET_F_NEEDS_CSUM, VnetHeader

# Where the destination stands in a record that we send.
cdef inline uint8_t* ip_destination(uint8_t* record) noexcept nogil:
    return record + IPV4_OFFSET + 16


cdef uint32_t udp_poll(Stack* stack, uint8_t* buffer) noexcept nogil:
    cdef UdpTable* table = table_of(stack)
    cdef uint32_t length = 0
    if table.ready:
        length = poll_waiting(stack, buffer)
    while length == 0 and table.first_pending >= 0:
        length = send_one(stack, table.first_pending, buffer)
    if length:
        count(stack, Counter.UDP_OUT)
    return length


cdef void udp_put_rest_aside(Stack* stack, uint32_t i) noexcept nogil:
    """Its socket is closed: what is still in its ring leaves from aside, as far as there is room."""
    cdef uint32_t length
    cdef int32_t place
    cdef UdpTable* table = table_of(stack)
    cdef UdpBind* bind = &table.binds[i]
    cdef neat_sock* sock = &bind.channel.socks[stack.udp_slots[i].sock]
    while bind.pending:
        length = send_one(stack, i, table.record)
        if length == 0:
            continue
        place = put_aside(stack, i, sock, table.record, length - L4_OFFSET)
        if place < 0:
            count(stack, Counter.UDP_UNSENDABLE)
            continue
        table.waiting[place].ready = True
        table.ready += 1


cdef uint32_t send_one(Stack* stack, uint32_t i, uint8_t* buffer) noexcept nogil:
    """Take one datagram out of the ring. Returns the length of the record to send, 0 for none."""
    cdef neat_datagram head
    cdef UdpBind* bind = &table_of(stack).binds[i]
    cdef UdpSlot* slot = &stack.udp_slots[i]
    cdef neat_sock* sock = &bind.channel.socks[slot.sock]
    leave_pending(stack, i)
    cdef uint64_t left = bind.tx_until - slot.tx_head
    if left < DATAGRAM_HEAD:
        break_off(stack, i)
        return 0
    ring_read(sock_tx_ring(bind.channel, slot.sock), bind.channel.tx_size, slot.tx_head, &head, DATAGRAM_HEAD)
    cdef uint64_t need = padded(DATAGRAM_HEAD + <uint64_t>head.length)
    if need > left:
        break_off(stack, i)
        return 0
    cdef int32_t length = emit(stack, i, sock, &head, buffer)
    if length < 0:
        count(stack, Counter.UDP_UNSENDABLE)
        report(stack, i, -length)
        length = 0
    store64(&slot.tx_head, slot.tx_head + need)
    store64(&sock.tx_head, slot.tx_head)
    if bind.tx_until != slot.tx_head:
        join_pending(stack, i)
    if (bind.tx_until - slot.tx_head) * 3 <= <uint64_t>bind.channel.tx_size * 2:
        event_raise(&stack.events, &bind.node, EV_WRITABLE)
    return length


cdef int32_t emit(
    Stack* stack, uint32_t i, neat_sock* sock, neat_datagram* head, uint8_t* buffer
) noexcept nogil:
    """Make a record of the datagram at the ring's head. Returns its length, 0 if it waits, or an error."""
    cdef neat_addr peer
    cdef UdpBind* bind = &table_of(stack).binds[i]
    cdef UdpSlot* slot = &stack.udp_slots[i]
    options = load32(&sock.options)
    if head.addr.family == 0 and options & NEAT_OPT_PEER:
        peer = sock.peer
        head.addr = peer
    if head.addr.family != FAMILY_IPV4:
        return -EDESTADDRREQ
    if head.addr.port == 0:
        return -EINVAL
    cdef uint32_t l4_length = UDP_BYTES + head.length
    if l4_length + L4_OFFSET - IPV4_OFFSET > stack.config.mtu:
        return -EMSGSIZE
    if is_broadcast(stack, load_address(head.addr.addr)) and not options & NEAT_OPT_BROADCAST:
        return -EACCES
    ring = sock_tx_ring(bind.channel, slot.sock)
    data = buffer + L4_OFFSET + UDP_BYTES
    ring_read(ring, bind.channel.tx_size, slot.tx_head + DATAGRAM_HEAD, data, head.length)
    write_header(stack, buffer, slot.port, &head.addr, l4_length)
    cdef int32_t error = ipv4_prepare(stack, buffer, head.addr.addr, PROTO_UDP, l4_length, sock.tos, sock.ttl)
    if error == -EAGAIN:
        memcpy(ip_destination(buffer), head.addr.addr, 4)
        if put_aside(stack, i, sock, buffer, l4_length) < 0:
            # As Linux: too many wait for this neighbour already, the rest is dropped and nobody is told.
            count(stack, Counter.UDP_UNSENDABLE)
        return 0
    if error < 0:
        return error
    return finish(stack, buffer, l4_length)


cdef void write_header(
    Stack* stack, uint8_t* buffer, uint16_t port, const neat_addr* destination, uint32_t l4_length
) noexcept nogil:
    """The UDP header, with a full checksum or, when the device completes it, the sum of the pseudo-header."""
    cdef UdpHeader* header = <UdpHeader*>(buffer + L4_OFFSET)
    header.source_port = htons(port)
    header.destination_port = htons(destination.port)
    header.length = htons(<uint16_t>l4_length)
    header.checksum = 0
    cdef uint64_t total = pseudo_header_v4(stack.config.address, destination.addr, PROTO_UDP, l4_length, 0)
    if stack.config.offloads & OFFLOAD_CSUM:
        header.checksum = checksum_fold(total)
        return
    header.checksum = checksum_fold(checksum_add(buffer + L4_OFFSET, l4_length, total)) ^ 0xFFFF
    # RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    if header.checksum == 0:
        header.checksum = 0xFFFF


cdef uint32_t finish(Stack* stack, uint8_t* buffer, uint32_t l4_length) noexcept nogil:
    """The record's length; what the device must know about the checksum is in the virtio-net header."""
    cdef VnetHeader* vnet
    if stack.config.offloads & OFFLOAD_CSUM:
        vnet = <VnetHeader*>buffer
        vnet.flags = VNET_F_NEEDS_CSUM
        vnet.csum_start = L4_OFFSET - VNET_BYTES
        vnet.csum_offset = 6
    return L4_OFFSET + l4_length


cdef int32_t put_aside(
    Stack* stack, uint32_t i, neat_sock* sock, uint8_t* buffer, uint32_t l4_length
) noexcept nogil:
    """Keep the datagram of a record until its neighbour answers. Its place; -1: too many wait."""
    cdef UdpWaiting* waiting
    cdef int32_t k
    cdef UdpTable* table = table_of(stack)
    for k in range(WAITING_SLOTS):
        waiting = &table.waiting[k]
        if waiting.length:
            continue
        waiting.length = l4_length
        waiting.ready = False
        memcpy(waiting.destination, ip_destination(buffer), 4)
        waiting.tos, waiting.ttl = sock.tos, sock.ttl
        waiting.bind = <int16_t>i
        memcpy(table.bytes + k * table.room, buffer + L4_OFFSET, l4_length)
        return k
    return -1


cdef void udp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil:
    cdef UdpWaiting* waiting
    cdef int32_t i
    cdef UdpTable* table = table_of(stack)
    for i in range(WAITING_SLOTS):
        waiting = &table.waiting[i]
        if waiting.length == 0 or waiting.ready or not ipv4_via(stack, waiting.destination, address):
            continue
        if reachable:
            waiting.ready = True
            table.ready += 1
        else:
            give_up(stack, waiting)


cdef uint32_t poll_waiting(Stack* stack, uint8_t* buffer) noexcept nogil:
    cdef UdpWaiting* waiting
    cdef int32_t i, l4
    cdef uint32_t length
    cdef UdpTable* table = table_of(stack)
    for i in range(WAITING_SLOTS):
        waiting = &table.waiting[i]
        if not waiting.ready:
            continue
        waiting.ready = False
        table.ready -= 1
        length = waiting.length
        memcpy(buffer + L4_OFFSET, table.bytes + i * table.room, length)
        l4 = ipv4_prepare(stack, buffer, waiting.destination, PROTO_UDP, length, waiting.tos, waiting.ttl)
        if l4 < 0:
            give_up(stack, waiting)
            continue
        waiting.length = 0
        return finish(stack, buffer, length)
    return 0


cdef void give_up(Stack* stack, UdpWaiting* waiting) noexcept nogil:
    """The neighbour did not answer: the datagram is lost, its socket hears of it if it is still there."""
    waiting.length = 0
    count(stack, Counter.UDP_UNSENDABLE)
    if waiting.bind != NO_BIND:
        report(stack, waiting.bind, EHOSTUNREACH)
