"""Reading of headers for steering. What the results mean is in classify.pxd.

Only what decides where a packet goes is looked at; whether it makes sense is for the replica to find out.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset
from neat.wire.flow cimport FAMILY_IPV4, FAMILY_IPV6, FlowKey
from neat.wire.headers cimport (
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_MORE_FRAGMENTS, IPV4_OFFSET_MASK, PROTO_ICMP,
    PROTO_ICMPV6, PROTO_TCP, PROTO_UDP,
)
from neat.wire.vnet cimport VNET_BYTES


cdef inline uint32_t be32_at(const uint8_t* p) noexcept nogil:
    return (be16_at(p) << 16) | be16_at(p + 2)


cdef void classify_record(
    const uint8_t* record, uint32_t length, bint outgoing, Packet* packet
) noexcept nogil:
    cdef uint8_t headers[256]
    memset(packet, 0, sizeof(Packet))
    cdef uint32_t available = length if length < HEADERS_MAX else HEADERS_MAX
    if available < VNET_BYTES + ETHERNET_BYTES:
        packet.kind = PACKET_MALFORMED
        return
    memcpy(headers, record, available)
    packet.kind = classify_frame(headers + VNET_BYTES, available - VNET_BYTES, outgoing, packet)


# frame, ip, data, here and below: private memory with `length` bytes.
cdef int classify_frame(const uint8_t* frame, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    cdef int version
    cdef uint32_t ethertype = be16_at(frame + 12)
    if ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        version = 4 if ethertype == ETHERTYPE_IPV4 else 6
        if length < ETHERNET_BYTES + 1 or frame[ETHERNET_BYTES] >> 4 != version:
            return PACKET_MALFORMED
        return classify_ip(frame + ETHERNET_BYTES, length - ETHERNET_BYTES, outgoing, packet)
    if ethertype == ETHERTYPE_ARP:
        return classify_arp(frame + ETHERNET_BYTES, length - ETHERNET_BYTES, outgoing, packet)
    return PACKET_NOT_IP


cdef int classify_arp(const uint8_t* arp, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    """RFC 826 for Ethernet and IPv4. RFC 5227 §2.3: a request for one's own address is an announcement."""
    if length < 28 or be32_at(arp) != 0x00010800 or be16_at(arp + 4) != 0x0604:
        return PACKET_MALFORMED
    packet.key.family = FAMILY_IPV4
    set_addresses(&packet.key, arp + 14, arp + 24, 4, outgoing)
    cdef uint32_t operation = be16_at(arp + 6)
    if operation == 1 and memcmp(arp + 14, arp + 24, 4) != 0:
        return PACKET_NEIGHBOUR_QUERY
    return PACKET_NEIGHBOUR_NEWS if operation in (1, 2) else PACKET_MALFORMED


cdef int classify_ip(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    cdef int at = read_ip(ip, length, outgoing, packet)
    if at < 0:
        return PACKET_MALFORMED
    # What lies behind the datagram is padding of the frame.
    cdef uint32_t end = be16_at(ip + 2) if packet.key.family == FAMILY_IPV4 else be16_at(ip + 4) + 40
    length = min(length, end)
    if <uint32_t>at > length:
        return PACKET_MALFORMED
    if packet.fragment == FRAGMENT_LATER:
        return PACKET_HOSTS
    if packet.key.protocol in (PROTO_TCP, PROTO_UDP):
        return classify_ports(ip + at, length - at, outgoing, packet)
    if packet.key.protocol == (PROTO_ICMP if packet.key.family == FAMILY_IPV4 else PROTO_ICMPV6):
        return classify_icmp(ip + at, length - at, outgoing, packet)
    return PACKET_HOSTS


cdef int classify_ports(const uint8_t* data, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    """RFC 1858 §3: a first fragment too short for the TCP flags is not let through."""
    if length < 8:
        return PACKET_MALFORMED
    if packet.key.protocol == PROTO_TCP:
        if length < 14:
            return PACKET_MALFORMED
        packet.tcp_flags = data[13]
    set_ports(&packet.key, data, outgoing)
    return PACKET_TUPLE


cdef int classify_icmp(const uint8_t* data, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    """RFC 792, RFC 4443 §2.1, RFC 4861 §4."""
    cdef bint error
    if length < 8:
        return PACKET_MALFORMED
    cdef uint32_t type = data[0]
    if packet.key.family == FAMILY_IPV4:
        error = type in (3, 4, 5, 11, 12)
    else:
        if type in (133, 135):
            return PACKET_NEIGHBOUR_QUERY
        if type in (134, 136):
            return PACKET_NEIGHBOUR_NEWS
        error = 1 <= type <= 4
    return classify_quote(data + 8, length - 8, outgoing, packet) if error else PACKET_HOSTS


cdef int classify_quote(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    """An error that comes in quotes what we sent, so there the source is the local end; one that goes out
    quotes what came in."""
    cdef Packet quoted
    memset(&quoted, 0, sizeof(Packet))
    cdef int at = read_ip(ip, length, not outgoing, &quoted)
    if at < 0 or quoted.key.family != packet.key.family or quoted.fragment == FRAGMENT_LATER:
        return PACKET_HOSTS
    if quoted.key.protocol not in (PROTO_TCP, PROTO_UDP):
        return PACKET_HOSTS
    # RFC 792: at least 64 bits of the original data, which hold the ports.
    if length - at < 4:
        return PACKET_HOSTS
    set_ports(&quoted.key, ip + at, not outgoing)
    packet.key = quoted.key
    return PACKET_ICMP_ERROR


# Fill key and fragment from an IP header. Returns where the transport header starts, -1 when malformed.
cdef int read_ip(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    if length >= 20 and ip[0] >> 4 == 4:
        return read_ipv4(ip, length, outgoing, packet)
    if length >= 40 and ip[0] >> 4 == 6:
        return read_ipv6(ip, length, outgoing, packet)
    return -1


cdef int read_ipv4(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    cdef uint32_t header = (ip[0] & 0x0F) * 4
    if header < 20 or header > length or be16_at(ip + 2) < header:
        return -1
    packet.key.family = FAMILY_IPV4
    packet.key.protocol = ip[9]
    set_addresses(&packet.key, ip + 12, ip + 16, 4, outgoing)
    cdef uint32_t fragment = be16_at(ip + 6)
    packet.fragment_id = be16_at(ip + 4)
    if fragment & IPV4_OFFSET_MASK:
        packet.fragment = FRAGMENT_LATER
    elif fragment & IPV4_MORE_FRAGMENTS:
        packet.fragment = FRAGMENT_FIRST
    return header


cdef int read_ipv6(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil:
    """RFC 8200 §4: over at most IPV6_EXTENSIONS_MAX extension headers, all in the bytes that we have."""
    cdef uint32_t field
    packet.key.family = FAMILY_IPV6
    set_addresses(&packet.key, ip + 8, ip + 24, 16, outgoing)
    cdef uint32_t next_header = ip[6]
    cdef uint32_t at = 40
    for _ in range(IPV6_EXTENSIONS_MAX + 1):
        packet.key.protocol = next_header
        if next_header not in (0, 43, 44, 51, 60):
            return at
        if length - at < 8:
            return -1
        next_header = ip[at]
        if packet.key.protocol == 44:
            field = be16_at(ip + at + 2)
            packet.fragment_id = be32_at(ip + at + 4)
            if field & 0xFFF8:
                packet.fragment = FRAGMENT_LATER
                packet.key.protocol = next_header
                return at + 8
            if field & 1:
                packet.fragment = FRAGMENT_FIRST
            at += 8
        elif packet.key.protocol == 51:
            at += (ip[at + 1] + 2) * 4
        else:
            at += (ip[at + 1] + 1) * 8
        if at > length:
            return -1
    return -1


cdef void set_addresses(
    FlowKey* key, const uint8_t* source, const uint8_t* destination, uint32_t width, bint outgoing
) noexcept nogil:
    memcpy(key.local, source if outgoing else destination, width)
    memcpy(key.remote, destination if outgoing else source, width)


cdef void set_ports(FlowKey* key, const uint8_t* ports, bint outgoing) noexcept nogil:
    key.local_port = be16_at(ports if outgoing else ports + 2)
    key.remote_port = be16_at(ports + 2 if outgoing else ports)
