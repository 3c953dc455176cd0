"""Scatter and gather. The contract is in spans.pxd and in engine.pxd."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp
from neat.stack.channels cimport channel_of, sock_rx_ring
from neat.stack.config cimport OFFLOAD_CSUM, Guess, Span
from neat.stack.packet cimport Packet
from neat.stack.state cimport SLOT_HAS_SOCK, SLOT_ORPHAN
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.state cimport TcpState, can_receive
from neat.stack.tcp.types cimport NO_INDEX, Tcb
from neat.stack.types cimport Stack
from neat.wire.headers cimport (
    ETHERTYPE_IPV4, IPV4_MORE_FRAGMENTS, IPV4_OFFSET_MASK, PROTO_TCP, EthernetHeader, Ipv4Header, TcpHeader,
    htons, ntohl, ntohs,
)
from neat.wire.vnet cimport VNET_BYTES, VNET_F_DATA_VALID, VNET_F_NEEDS_CSUM, VnetHeader

cdef enum:
    MOST_TEXT = 65535               # bytes, of one frame
    # of a record without IP options
    IP_AT = VNET_BYTES + 14
    TCP_AT = IP_AT + 20


cdef void ring_spans(
    uint8_t* ring, uint32_t size, uint64_t offset, uint32_t length, Span* spans
) noexcept nogil:
    cdef uint32_t at = <uint32_t>(offset & (size - 1))
    spans[0].at = ring + at
    spans[0].length = min(length, size - at)
    spans[1].at = ring
    spans[1].length = length - spans[0].length


cdef bint gather_text(Stack* stack, Tcb* tcb, uint64_t offset, uint32_t length) noexcept nogil:
    """Where we make the checksum ourselves we read the text anyway, and it must not change meanwhile."""
    if stack.gathered == NULL or length < LONG_TEXT or not stack.config.offloads & OFFLOAD_CSUM:
        return False
    ring_spans(tcb.tx_ring, tcb.tx_size, offset, length, stack.gathered)
    return True


cdef void text_came(Stack* stack, Tcb* tcb, const Packet* packet, const Segment* seg) noexcept nogil:
    if seg.text_len < LONG_TEXT or tcb.ooo_count:
        stack.tcp.guess = NO_INDEX
        return
    stack.tcp.guess = tcb.index
    stack.tcp.guess_header = <uint32_t>(seg.text - packet.record)


cdef bint guess_next(Stack* stack, Guess* guess) noexcept nogil:
    cdef uint32_t room
    if stack.tcp.guess == NO_INDEX or not stack.config.offloads & OFFLOAD_CSUM:
        return False
    tcb = &stack.tcp.tcbs[stack.tcp.guess]
    slot = tcb.slot
    if tcb.sock == NULL or not can_receive(slot.state) or slot.flags & SLOT_ORPHAN or tcb.ooo_count:
        stack.tcp.guess = NO_INDEX
        return False
    # What we advertised, there is room for.
    room = slot.rcv_adv - tcb.rcv_nxt
    if room < LONG_TEXT or room > tcb.rx_size:
        return False
    room = min(room, <uint32_t>MOST_TEXT)
    guess.conn = tcb.index
    guess.header = stack.tcp.guess_header
    guess.offset = slot.rx_tail
    ring_spans(tcb.rx_ring, tcb.rx_size, slot.rx_tail, room, guess.room)
    return True


cdef bint guess_of(
    Stack* stack, uint32_t conn, uint64_t offset, uint32_t room, Guess* guess
) noexcept nogil:
    """Of a predecessor: nothing is rebuilt yet, so only the slot counts."""
    if conn >= stack.config.max_connections:
        return False
    slot = &stack.slots[conn]
    if slot.state == TcpState.FREE or not slot.flags & SLOT_HAS_SOCK or slot.rx_tail != offset:
        return False
    channel = channel_of(stack, slot.app)
    if channel == NULL or slot.sock >= channel.nsock:
        return False
    guess.conn = conn
    guess.offset = offset
    room = min(room, channel.rx_size)
    ring_spans(sock_rx_ring(channel, slot.sock), channel.rx_size, offset, room, guess.room)
    return True


cdef bint is_guessed(Stack* stack, const Guess* guess, const uint8_t* record, uint32_t length) noexcept nogil:
    """Just the frame that was expected, so that nothing of it needs to be looked at but its headers: TCP of
    this flow, without IP options or padding, its checksum vouched for, at rcv_nxt, and the text no longer
    than the room."""
    tcb = &stack.tcp.tcbs[guess.conn]
    vnet = <const VnetHeader*>record
    eth = <const EthernetHeader*>(record + VNET_BYTES)
    ip = <const Ipv4Header*>(record + IP_AT)
    tcp = <const TcpHeader*>(record + TCP_AT)
    key = &tcb.slot.key
    return (
        guess.header < length <= guess.header + guess.room[0].length + guess.room[1].length
        and vnet.flags & (VNET_F_NEEDS_CSUM | VNET_F_DATA_VALID) != 0
        and ntohs(eth.ethertype) == ETHERTYPE_IPV4
        and ip.version_ihl == 0x45
        and ip.protocol == PROTO_TCP
        and ntohs(ip.total_length) == length - IP_AT
        and ntohs(ip.fragment) & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK) == 0
        and memcmp(ip.source, key.remote, 4) == 0
        and memcmp(ip.destination, key.local, 4) == 0
        and tcp.source_port == htons(key.remote_port)
        and tcp.destination_port == htons(key.local_port)
        and <uint32_t>(TCP_AT + (tcp.offset_reserved >> 4) * 4) == guess.header
        and ntohl(tcp.sequence) == tcb.rcv_nxt
    )
