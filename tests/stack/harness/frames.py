"""Frames as tests make and read them: plain Python, independent of the code under test.

Addresses are text. `wire_frames` does what a network card does with the record of a stack that offloads:
it completes checksums and cuts large segments, so that what comes out could be on a cable.
"""

import struct
from dataclasses import dataclass, field
from socket import inet_aton, inet_ntoa

STACK_IP, PEER_IP = "10.77.0.2", "10.77.0.1"
STACK_MAC, PEER_MAC = b"\x02\x4e\x00\x00\x00\x02", b"\x02\x4e\x00\x00\x00\x01"
BROADCAST_MAC = b"\xff" * 6
ETH_IPV4, ETH_ARP = 0x0800, 0x0806
ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

VNET = struct.Struct("<BBHHHH")
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4 = 0, 1


def fold(data: bytes) -> int:
    """The ones' complement sum of 16-bit words, folded, not complemented."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    return total % 0xFFFF or (0xFFFF if total else 0)


def checksum(data: bytes) -> int:
    return fold(data) ^ 0xFFFF


def pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    return inet_aton(source) + inet_aton(destination) + struct.pack("!BBH", 0, protocol, length)


def ethernet(
    payload: bytes, ethertype: int = ETH_IPV4, source: bytes = PEER_MAC, destination: bytes = STACK_MAC
) -> bytes:
    return destination + source + struct.pack("!H", ethertype) + payload


def ipv4(
    payload: bytes, protocol: int, source: str = PEER_IP, destination: str = STACK_IP, **fields
) -> bytes:
    """An IPv4 packet. Fields: ttl, tos, ident, fragment, options; to lie: total_length, ihl, checksum."""
    options = fields.get("options", b"")
    header = bytearray(
        struct.pack(
            "!BBHHHBBH4s4s",
            fields.get("version", 4) << 4 | fields.get("ihl", 5 + len(options) // 4),
            fields.get("tos", 0),
            fields.get("total_length", 20 + len(options) + len(payload)),
            fields.get("ident", 0),
            fields.get("fragment", 0x4000),
            fields.get("ttl", 64),
            protocol,
            0,
            inet_aton(source),
            inet_aton(destination),
        )
        + options
    )
    header[10:12] = struct.pack("!H", fields.get("checksum", checksum(bytes(header))))
    return bytes(header) + payload


def tcp(
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    window: int = 65535,
    options: bytes = b"",
    payload: bytes = b"",
    source: str = PEER_IP,
    destination: str = STACK_IP,
    **fields,
) -> bytes:
    """A TCP segment with a right checksum. Fields: urgent, and to lie: offset, checksum."""
    options += b"\0" * (-len(options) % 4)
    offset = fields.get("offset", 5 + len(options) // 4)
    header = struct.pack(
        "!HHIIBBHHH",
        sport,
        dport,
        seq & 0xFFFFFFFF,
        ack & 0xFFFFFFFF,
        offset << 4,
        flags,
        window,
        0,
        fields.get("urgent", 0),
    )
    body = bytearray(header + options + payload)
    right = checksum(pseudo(source, destination, TCP, len(body)) + body)
    body[16:18] = struct.pack("!H", fields.get("checksum", right))
    return bytes(body)


def udp(
    sport: int, dport: int, payload: bytes, source: str = PEER_IP, destination: str = STACK_IP, **fields
) -> bytes:
    """A UDP datagram with a right checksum. To lie: length, checksum (0: none)."""
    length = fields.get("length", 8 + len(payload))
    body = bytearray(struct.pack("!HHHH", sport, dport, length, 0) + payload)
    right = checksum(pseudo(source, destination, UDP, len(body)) + body) or 0xFFFF
    body[6:8] = struct.pack("!H", fields.get("checksum", right))
    return bytes(body)


def icmp(kind: int, code: int, rest: int, payload: bytes = b"", **fields) -> bytes:
    """An ICMP message. To lie: checksum."""
    body = bytearray(struct.pack("!BBHI", kind, code, 0, rest) + payload)
    body[2:4] = struct.pack("!H", fields.get("checksum", checksum(bytes(body))))
    return bytes(body)


def arp(operation: int, sender_mac: bytes, sender_ip: str, target_mac: bytes, target_ip: str) -> bytes:
    return (
        struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, operation)
        + sender_mac
        + inet_aton(sender_ip)
        + target_mac
        + inet_aton(target_ip)
    )


def arp_reply_to(frame: bytes, mac: bytes = PEER_MAC) -> bytes:
    """The answer of whoever has the address that this ARP request asks for."""
    asker_mac, asker_ip, wanted = frame[22:28], inet_ntoa(frame[28:32]), inet_ntoa(frame[38:42])
    return ethernet(arp(2, mac, wanted, asker_mac, asker_ip), ETH_ARP, mac, asker_mac)


@dataclass
class Segment:
    """A TCP segment as read from a record; numbers are absolute, options are tuples of the notation."""

    source: str
    destination: str
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    urgent: int
    payload: bytes
    options: list[tuple] = field(default_factory=list)
    tos: int = 0
    ttl: int = 64
    gso_size: int = 0
    time: int = 0


@dataclass
class Packet:
    """An IPv4 packet as read from a record. `segment` when it is TCP."""

    source: str
    destination: str
    protocol: int
    ttl: int
    tos: int
    payload: bytes
    segment: Segment | None = None


class Malformed(AssertionError):
    """The stack sent something that no network would accept."""


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise Malformed(text)


def read_options(raw: bytes) -> list[tuple]:
    """TCP options in order, as tuples that start with the notation's name."""
    out: list[tuple] = []
    i = 0
    while i < len(raw):
        kind = raw[i]
        if kind == 0:
            out.append(("eol",))
            break
        if kind == 1:
            out.append(("nop",))
            i += 1
            continue
        _require(i + 1 < len(raw) and 2 <= raw[i + 1] <= len(raw) - i, f"bad option length in {raw.hex()}")
        body = raw[i + 2 : i + raw[i + 1]]
        i += raw[i + 1]
        if kind == 2:
            out.append(("mss", *struct.unpack("!H", body)))
        elif kind == 3:
            out.append(("wscale", body[0]))
        elif kind == 4:
            out.append(("sackOK",))
        elif kind == 5:
            edges = struct.unpack(f"!{len(body) // 4}I", body)
            out.append(("sack", *zip(edges[::2], edges[1::2], strict=True)))
        elif kind == 8:
            out.append(("TS", *struct.unpack("!II", body)))
        else:
            out.append(("option", kind, body))
    return out


def read_packet(record: bytes) -> Packet | None:
    """The IPv4 packet in a record that the stack sent, lengths and checksums verified; None if not IPv4."""
    flags, gso_type, _, gso_size, csum_start, csum_offset = VNET.unpack_from(record)
    frame = record[VNET.size :]
    _require(len(frame) >= 14, "short frame")
    if frame[12:14] != b"\x08\x00":
        return None
    header = frame[14:34]
    _require(header[0] == 0x45, f"version and IHL {header[0]:#x}")
    total = int.from_bytes(header[2:4], "big")
    _require(total == len(frame) - 14, f"total length {total} in a frame of {len(frame)}")
    _require(fold(header) == 0xFFFF, "bad IPv4 header checksum")
    source, destination = inet_ntoa(header[12:16]), inet_ntoa(header[16:20])
    payload, protocol = frame[34:], header[9]
    packet = Packet(source, destination, protocol, header[8], header[1], payload)
    start = pseudo(source, destination, protocol, len(payload))
    if flags & NEEDS_CSUM:
        _require(
            csum_start == 34 and csum_offset == {TCP: 16, UDP: 6}.get(protocol),
            "checksum to complete elsewhere",
        )
        partial = int.from_bytes(payload[csum_offset : csum_offset + 2], "big")
        _require(partial == fold(start), "wrong pseudo-header sum for the device")
    elif protocol in (TCP, UDP):
        _require(fold(start + payload) == 0xFFFF, f"bad checksum, protocol {protocol}")
    elif protocol == ICMP:
        _require(fold(payload) == 0xFFFF, "bad ICMP checksum")
    if protocol == TCP:
        packet.segment = _read_segment(packet, gso_size)
        if gso_type & 0x7F == GSO_NONE:
            _require(gso_size == 0, "a segment size without a GSO type")
    return packet


def _read_segment(packet: Packet, gso_size: int) -> Segment:
    raw = packet.payload
    sport, dport, seq, ack, offset, flags, window, _, urgent = struct.unpack_from("!HHIIBBHHH", raw)
    size = (offset >> 4) * 4
    _require(20 <= size <= len(raw), f"data offset {size}")
    options = read_options(raw[20:size])
    return Segment(
        packet.source,
        packet.destination,
        sport,
        dport,
        seq,
        ack,
        flags,
        window,
        urgent,
        raw[size:],
        options,
        packet.tos,
        packet.ttl,
        gso_size,
    )


def wire_frames(record: bytes) -> list[bytes]:
    """The frames that a network card would put on the cable for this record."""
    flags, gso_type, _, gso_size, csum_start, csum_offset = VNET.unpack_from(record)
    frame = record[VNET.size :]
    if gso_type & 0x7F == GSO_TCPV4:
        return _cut(frame, gso_size)
    if flags & NEEDS_CSUM:
        at = csum_start + csum_offset
        value = checksum(frame[csum_start:])
        frame = frame[:at] + struct.pack("!H", value) + frame[at + 2 :]
    return [frame]


def _cut(frame: bytes, size: int) -> list[bytes]:
    """TCP segmentation as a network card does it: sequence, identification, FIN and PSH only on the last."""
    segment = read_segment_of(frame)
    header = (frame[46] >> 4) * 4
    options, payload = frame[54 : 34 + header], frame[34 + header :]
    out: list[bytes] = []
    for at in range(0, len(payload), size):
        last = at + size >= len(payload)
        flags = segment.flags if last else segment.flags & ~(FIN | PSH)
        body = tcp(
            segment.sport,
            segment.dport,
            segment.seq + at,
            segment.ack,
            flags,
            segment.window,
            options,
            payload[at : at + size],
            segment.source,
            segment.destination,
            urgent=segment.urgent,
        )
        ident = int.from_bytes(frame[18:20], "big") + len(out) & 0xFFFF
        packet = ipv4(
            body, TCP, segment.source, segment.destination, ttl=frame[22], tos=frame[15], ident=ident
        )
        out.append(frame[:14] + packet)
    return out


def read_segment_of(frame: bytes) -> Segment:
    """The TCP segment of a plain frame, checksums not looked at."""
    packet = Packet(inet_ntoa(frame[26:30]), inet_ntoa(frame[30:34]), TCP, frame[22], frame[15], frame[34:])
    return _read_segment(packet, 0)
