# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Reading of headers for steering. What the results mean is in classify.pxd.

Only what decides where a packet goes is looked at; whether it makes sense is for the replica to find out.
"""

import cython
from cython.cimports.libc.string import memcmp, memcpy, memset


@cython.locals(headers=cython.uchar[256], available=cython.uint)
def classify_record(record, length, outgoing, packet):
    memset(packet, 0, cython.sizeof(Packet))
    available = length if length < HEADERS_MAX else HEADERS_MAX
    if available < VNET_BYTES + ETHERNET_BYTES:
        packet.kind = PACKET_MALFORMED
        return
    memcpy(headers, record, available)
    packet.kind = classify_frame(headers + VNET_BYTES, available - VNET_BYTES, outgoing, packet)


@cython.locals(ethertype=cython.uint, version=cython.int)
def classify_frame(frame, length, outgoing, packet):
    ethertype = be16_at(frame + 12)
    if ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        version = 4 if ethertype == ETHERTYPE_IPV4 else 6
        if length < ETHERNET_BYTES + 1 or frame[ETHERNET_BYTES] >> 4 != version:
            return PACKET_MALFORMED
        return classify_ip(frame + ETHERNET_BYTES, length - ETHERNET_BYTES, outgoing, packet)
    if ethertype == ETHERTYPE_ARP:
        return classify_arp(frame + ETHERNET_BYTES, length - ETHERNET_BYTES, outgoing, packet)
    return PACKET_NOT_IP


@cython.locals(operation=cython.uint)
def classify_arp(arp, length, outgoing, packet):
    """RFC 826 for Ethernet and IPv4. RFC 5227 §2.3: a request for one's own address is an announcement."""
    if length < 28 or be32_at(arp) != 0x00010800 or be16_at(arp + 4) != 0x0604:
        return PACKET_MALFORMED
    packet.key.family = FAMILY_IPV4
    set_addresses(cython.address(packet.key), arp + 14, arp + 24, 4, outgoing)
    operation = be16_at(arp + 6)
    if operation == 1 and memcmp(arp + 14, arp + 24, 4) != 0:
        return PACKET_NEIGHBOUR_QUERY
    return PACKET_NEIGHBOUR_NEWS if operation in (1, 2) else PACKET_MALFORMED


@cython.locals(at=cython.int, end=cython.uint)
def classify_ip(ip, length, outgoing, packet):
    at = read_ip(ip, length, outgoing, packet)
    if at < 0:
        return PACKET_MALFORMED
    # What lies behind the datagram is padding of the frame.
    end = be16_at(ip + 2) if packet.key.family == FAMILY_IPV4 else be16_at(ip + 4) + 40
    length = min(length, end)
    if cython.cast(cython.uint, at) > length:
        return PACKET_MALFORMED
    if packet.fragment == FRAGMENT_LATER:
        return PACKET_HOSTS
    if packet.key.protocol in (PROTO_TCP, PROTO_UDP):
        return classify_ports(ip + at, length - at, outgoing, packet)
    if packet.key.protocol == (PROTO_ICMP if packet.key.family == FAMILY_IPV4 else PROTO_ICMPV6):
        return classify_icmp(ip + at, length - at, outgoing, packet)
    return PACKET_HOSTS


def classify_ports(data, length, outgoing, packet):
    """RFC 1858 §3: a first fragment too short for the TCP flags is not let through."""
    if length < 8:
        return PACKET_MALFORMED
    if packet.key.protocol == PROTO_TCP:
        if length < 14:
            return PACKET_MALFORMED
        packet.tcp_flags = data[13]
    set_ports(cython.address(packet.key), data, outgoing)
    return PACKET_TUPLE


@cython.locals(type=cython.uint, error=cython.bint)
def classify_icmp(data, length, outgoing, packet):
    """RFC 792, RFC 4443 §2.1, RFC 4861 §4."""
    if length < 8:
        return PACKET_MALFORMED
    type = data[0]
    if packet.key.family == FAMILY_IPV4:
        error = type in (3, 4, 5, 11, 12)
    else:
        if type in (133, 135):
            return PACKET_NEIGHBOUR_QUERY
        if type in (134, 136):
            return PACKET_NEIGHBOUR_NEWS
        error = 1 <= type <= 4
    return classify_quote(data + 8, length - 8, outgoing, packet) if error else PACKET_HOSTS


@cython.locals(quoted=Packet, at=cython.int)
def classify_quote(ip, length, outgoing, packet):
    """An error that comes in quotes what we sent, so there the source is the local end; one that goes out
    quotes what came in."""
    memset(cython.address(quoted), 0, cython.sizeof(Packet))
    at = read_ip(ip, length, not outgoing, cython.address(quoted))
    if at < 0 or quoted.key.family != packet.key.family or quoted.fragment == FRAGMENT_LATER:
        return PACKET_HOSTS
    if quoted.key.protocol not in (PROTO_TCP, PROTO_UDP):
        return PACKET_HOSTS
    # RFC 792: at least 64 bits of the original data, which hold the ports.
    if length - at < 4:
        return PACKET_HOSTS
    set_ports(cython.address(quoted.key), ip + at, not outgoing)
    packet.key = quoted.key
    return PACKET_ICMP_ERROR


def read_ip(ip, length, outgoing, packet):
    if length >= 20 and ip[0] >> 4 == 4:
        return read_ipv4(ip, length, outgoing, packet)
    if length >= 40 and ip[0] >> 4 == 6:
        return read_ipv6(ip, length, outgoing, packet)
    return -1


@cython.locals(header=cython.uint, fragment=cython.uint)
def read_ipv4(ip, length, outgoing, packet):
    header = (ip[0] & 0x0F) * 4
    if header < 20 or header > length or be16_at(ip + 2) < header:
        return -1
    packet.key.family = FAMILY_IPV4
    packet.key.protocol = ip[9]
    set_addresses(cython.address(packet.key), ip + 12, ip + 16, 4, outgoing)
    fragment = be16_at(ip + 6)
    packet.fragment_id = be16_at(ip + 4)
    if fragment & IPV4_OFFSET_MASK:
        packet.fragment = FRAGMENT_LATER
    elif fragment & IPV4_MORE_FRAGMENTS:
        packet.fragment = FRAGMENT_FIRST
    return header


@cython.locals(at=cython.uint, next_header=cython.uint, field=cython.uint)
def read_ipv6(ip, length, outgoing, packet):
    """RFC 8200 §4: over at most IPV6_EXTENSIONS_MAX extension headers, all in the bytes that we have."""
    packet.key.family = FAMILY_IPV6
    set_addresses(cython.address(packet.key), ip + 8, ip + 24, 16, outgoing)
    next_header = ip[6]
    at = 40
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


def set_addresses(key, source, destination, width, outgoing):
    memcpy(key.local, source if outgoing else destination, width)
    memcpy(key.remote, destination if outgoing else source, width)


def set_ports(key, ports, outgoing):
    key.local_port = be16_at(ports if outgoing else ports + 2)
    key.remote_port = be16_at(ports + 2 if outgoing else ports)
