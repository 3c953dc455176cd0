"""A TCP segment: parsed from a Packet, and written into a record."""

import cython


def segment_parse(stack, packet, seg):
    if packet.l4_length < TCP_HEADER:
        count(stack, Counter.TCP_BAD_HEADER)
        return False
    data = packet.record + packet.l4
    header = cython.cast(cython.pointer(TcpHeader), data)
    size = (header.offset_reserved >> 4) * 4
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
    seg.mss = 0
    seg.wscale = NO_WSCALE
    if size > TCP_HEADER:
        segment_options(data + TCP_HEADER, size - TCP_HEADER, seg)
    return True


def segment_options(options, length, seg):
    """Options with a bad length end the list, and what came before them counts (RFC 9293 §3.1)."""
    i = 0
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
            memcpy(cython.address(seg.tsval), options + i + 2, 4)
            memcpy(cython.address(seg.tsecr), options + i + 6, 4)
            seg.tsval = ntohl(seg.tsval)
            seg.tsecr = ntohl(seg.tsecr)
        elif kind == TCPOPT_MSS and size == 4:
            seg.mss = cython.cast(uint16_t, (options[i + 2] << 8) | options[i + 3])
        elif kind == TCPOPT_WSCALE and size == 3:
            # RFC 7323 §2.3: "If a Window Scale option is received with a shift.cnt value larger than 14,
            # [...] use 14"
            seg.wscale = min(options[i + 2], MAX_WSCALE)
        elif kind == TCPOPT_SACK_PERMITTED and size == 2:
            seg.sack_ok = True
        i += size


def segment_write(l4, out):
    header = cython.cast(cython.pointer(TcpHeader), l4)
    header.source_port = htons(out.local_port)
    header.destination_port = htons(out.remote_port)
    header.sequence = htonl(out.seq)
    header.acknowledgment = htonl(out.ack)
    header.offset_reserved = cython.cast(uint8_t, (outgoing_bytes(out) // 4) << 4)
    header.flags = out.flags
    header.window = htons(out.wnd)
    header.checksum = 0
    header.urgent = 0
    at = l4 + TCP_HEADER
    if out.mss:
        at[0] = TCPOPT_MSS
        at[1] = 4
        at[2] = out.mss >> 8
        at[3] = out.mss & 0xFF
        at += 4
    if out.wscale != NO_WSCALE:
        at[0] = TCPOPT_NOP
        at[1] = TCPOPT_WSCALE
        at[2] = 3
        at[3] = out.wscale
        at += 4
    if out.has_ts:
        at[0] = TCPOPT_NOP
        at[1] = TCPOPT_NOP
        at[2] = TCPOPT_TIMESTAMP
        at[3] = 10
        cython.cast(cython.pointer(uint32_t), at + 4)[0] = htonl(out.tsval)
        cython.cast(cython.pointer(uint32_t), at + 8)[0] = htonl(out.tsecr)


def segment_finish(stack, record, l4_at, header_bytes, l4_bytes, gso, source, destination):
    l4 = record + l4_at
    header = cython.cast(cython.pointer(TcpHeader), l4)
    vnet = cython.cast(cython.pointer(VnetHeader), record)
    total = pseudo_header_v4(source, destination, PROTO_TCP, l4_bytes, 0)
    if stack.config.offloads & OFFLOAD_CSUM:
        header.checksum = checksum_fold(total)
        vnet.flags = VNET_F_NEEDS_CSUM
        vnet.csum_start = cython.cast(uint16_t, l4_at - VNET_BYTES)
        vnet.csum_offset = 16
    else:
        header.checksum = cython.cast(uint16_t, ~checksum_fold(checksum_add(l4, l4_bytes, total)))
    if gso:
        vnet.gso_type = VNET_GSO_TCPV4
        vnet.gso_size = cython.cast(uint16_t, gso)
        vnet.hdr_len = cython.cast(uint16_t, l4_at - VNET_BYTES + header_bytes)
