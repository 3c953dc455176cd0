"""A TCP segment: parsed from a Packet, and written into a record."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.config cimport OFFLOAD_CSUM
from neat.stack.counters cimport Counter
from neat.stack.packet cimport Packet
from neat.stack.poison cimport POISON_BYTES, POISON_OPTION, poison_deed
from neat.stack.types cimport Stack, count
from neat.wire.checksum cimport checksum_add, checksum_fold, pseudo_header_v4
from neat.wire.headers cimport (
    PROTO_TCP, TCPOPT_END, TCPOPT_MSS, TCPOPT_NOP, TCPOPT_SACK, TCPOPT_SACK_PERMITTED, TCPOPT_TIMESTAMP,
    TCPOPT_WSCALE, TCP_FIN, TCP_SYN, TcpHeader, htonl, htons, ntohl, ntohs,
)
from neat.wire.vnet cimport VNET_BYTES, VNET_F_NEEDS_CSUM, VNET_GSO_TCPV4, VnetHeader


cdef bint segment_parse(Stack* stack, Packet* packet, Segment* seg) noexcept nogil:
    cdef uint64_t total
    if packet.l4_length < TCP_HEADER:
        count(stack, Counter.TCP_BAD_HEADER)
        return False
    cdef uint8_t* data = packet.record + packet.l4
    cdef TcpHeader* header = <TcpHeader*>data
    cdef uint32_t size = (header.offset_reserved >> 4) * 4
    if size < TCP_HEADER or size > packet.l4_length:
        count(stack, Counter.TCP_BAD_HEADER)
        return False
    if not packet.csum_ok:
        total = pseudo_header_v4(packet.source, packet.destination, PROTO_TCP, packet.l4_length, 0)
        if checksum_fold(checksum_add(data, packet.l4_length, total)) != 0xFFFF:
            count(stack, Counter.TCP_BAD_CHECKSUM)
            return False
    seg.local_port = ntohs(header.destination_port)
    seg.remote_port = ntohs(header.source_port)
    seg.seq = ntohl(header.sequence)
    seg.ack = ntohl(header.acknowledgment)
    seg.wnd = ntohs(header.window)
    seg.flags = header.flags
    seg.text = data + size
    seg.text_len = packet.l4_length - size
    seg.len = seg.text_len + (1 if seg.flags & TCP_SYN else 0) + (1 if seg.flags & TCP_FIN else 0)
    seg.has_ts = False
    seg.sack_ok = False
    seg.blocks = 0
    seg.poison = 0
    seg.mss = 0
    seg.wscale = NO_WSCALE
    if size > TCP_HEADER:
        segment_options(data + TCP_HEADER, size - TCP_HEADER, seg)
    return True


cdef void sack_blocks(const uint8_t* edges, uint32_t blocks, Segment* seg) noexcept nogil:
    cdef uint32_t i
    seg.blocks = min(blocks, <uint32_t>MAX_SACK_BLOCKS)
    memcpy(seg.sack, edges, 8 * seg.blocks)
    for i in range(2 * seg.blocks):
        seg.sack[i] = ntohl(seg.sack[i])


cdef void segment_options(const uint8_t* options, uint32_t length, Segment* seg) noexcept nogil:
    """Options with a bad length end the list, and what came before them counts (RFC 9293 §3.1)."""
    cdef uint8_t kind, size
    cdef uint32_t i = 0
    while i < length:
        kind = options[i]
        if kind == TCPOPT_NOP:
            i += 1
            continue
        if kind == TCPOPT_END or i + 1 >= length:
            return
        size = options[i + 1]
        if size < 2 or i + size > length:
            return
        if kind == TCPOPT_TIMESTAMP and size == 10:
            seg.has_ts = True
            memcpy(&seg.tsval, options + i + 2, 4)
            memcpy(&seg.tsecr, options + i + 6, 4)
            seg.tsval = ntohl(seg.tsval)
            seg.tsecr = ntohl(seg.tsecr)
        elif kind == TCPOPT_MSS and size == 4:
            seg.mss = <uint16_t>((options[i + 2] << 8) | options[i + 3])
        elif kind == TCPOPT_WSCALE and size == 3:
            # RFC 7323 §2.3: "If a Window Scale option is received with a shift.cnt value larger than 14,
            # [...] use 14"
            seg.wscale = min(options[i + 2], MAX_WSCALE)
        elif kind == TCPOPT_SACK_PERMITTED and size == 2:
            seg.sack_ok = True
        elif kind == TCPOPT_SACK and size % 8 == 2:
            sack_blocks(options + i + 2, (size - 2) // 8, seg)
        elif kind == POISON_OPTION and size == POISON_BYTES:
            seg.poison = poison_deed(options + i)
        i += size


cdef inline uint8_t* put(uint8_t* at, uint8_t one, uint8_t two, uint8_t three, uint8_t four) noexcept nogil:
    at[0] = one
    at[1] = two
    at[2] = three
    at[3] = four
    return at + 4


cdef inline uint8_t* put_long(uint8_t* at, uint32_t value) noexcept nogil:
    (<uint32_t*>at)[0] = htonl(value)
    return at + 4


cdef void segment_write(uint8_t* l4, const Outgoing* out) noexcept nogil:
    """Options in Linux's order: who looks at our SYN sees nothing special."""
    cdef uint32_t i
    cdef TcpHeader* header = <TcpHeader*>l4
    header.source_port = htons(out.local_port)
    header.destination_port = htons(out.remote_port)
    header.sequence = htonl(out.seq)
    header.acknowledgment = htonl(out.ack)
    header.offset_reserved = <uint8_t>((outgoing_bytes(out) // 4) << 4)
    header.flags = out.flags
    header.window = htons(out.wnd)
    header.checksum = 0
    header.urgent = 0
    cdef uint8_t* at = l4 + TCP_HEADER
    if out.mss:
        at = put(at, TCPOPT_MSS, 4, out.mss >> 8, out.mss & 0xFF)
    if out.has_ts:
        if out.sack_ok:
            at = put(at, TCPOPT_SACK_PERMITTED, 2, TCPOPT_TIMESTAMP, 10)
        else:
            at = put(at, TCPOPT_NOP, TCPOPT_NOP, TCPOPT_TIMESTAMP, 10)
        at = put_long(put_long(at, out.tsval), out.tsecr)
    elif out.sack_ok:
        at = put(at, TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK_PERMITTED, 2)
    if out.wscale != NO_WSCALE:
        at = put(at, TCPOPT_NOP, TCPOPT_WSCALE, 3, out.wscale)
    if out.blocks:
        at = put(at, TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK, <uint8_t>(2 + 8 * out.blocks))
        for i in range(2 * out.blocks):
            at = put_long(at, out.sack[i])


cdef void segment_finish(
    Stack* stack, uint8_t* record, uint32_t l4_at, uint32_t header_bytes, uint32_t l4_bytes, uint32_t gso,
    const uint8_t* source, const uint8_t* destination
) noexcept nogil:
    cdef uint8_t* l4 = record + l4_at
    cdef TcpHeader* header = <TcpHeader*>l4
    cdef VnetHeader* vnet = <VnetHeader*>record
    cdef uint64_t total = pseudo_header_v4(source, destination, PROTO_TCP, l4_bytes, 0)
    if stack.config.offloads & OFFLOAD_CSUM:
        header.checksum = checksum_fold(total)
        vnet.flags = VNET_F_NEEDS_CSUM
        vnet.csum_start = <uint16_t>(l4_at - VNET_BYTES)
        vnet.csum_offset = 16
    else:
        header.checksum = <uint16_t>(~checksum_fold(checksum_add(l4, l4_bytes, total)))
    if gso:
        vnet.gso_type = VNET_GSO_TCPV4
        vnet.gso_size = <uint16_t>gso
        vnet.hdr_len = <uint16_t>(l4_at - VNET_BYTES + header_bytes)
