# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""ICMP. Everything that is sent here goes through the bounded reply queue."""

import cython
from cython.cimports.neat.stack.ipv4 import IPV4_BYTES, L4_OFFSET, ipv4_prepare
from cython.cimports.neat.stack.tcp.icmp import tcp_icmp_error
from cython.cimports.neat.stack.udp import udp_icmp_error


def icmp_input(stack, packet):
    count(stack, Counter.ICMP_IN)
    if packet.l4_length < ICMP_BYTES:
        count(stack, Counter.ICMP_BAD)
        return
    if checksum_fold(checksum_add(packet.record + packet.l4, packet.l4_length, 0)) != 0xFFFF:
        count(stack, Counter.ICMP_BAD)
        return
    type = packet.record[packet.l4]
    # RFC 1122 §3.2.2.6 lets us be silent to a broadcast echo.
    if type == ICMP_ECHO and not packet.broadcast:
        echo(stack, packet)
    elif is_error(type) and not packet.broadcast:
        error_arrives(stack, packet)
    else:
        count(stack, Counter.ICMP_IGNORED)


def is_error(type):
    return type in (ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM)


def echo(stack, packet):
    """RFC 792: the same data, identifier and sequence number, back to the source."""
    size = packet.l4_length
    buffer = begin(stack, packet, size, packet.tos)
    if buffer == cython.NULL:
        return
    memcpy(buffer, packet.record + packet.l4, size)
    finish(stack, buffer, ICMP_ECHO_REPLY, 0, cython.cast("IcmpHeader*", buffer).rest, size)
    count(stack, Counter.ICMP_ECHO_OUT)


def icmp_error(stack, packet, type, code):
    if not may_draw_error(packet):
        return
    if not within_limit(stack):
        count(stack, Counter.ICMP_LIMITED)
        return
    quote = min(packet.ip_length, cython.cast("uint32_t", ERROR_MAX - IPV4_BYTES - ICMP_BYTES))
    buffer = begin(stack, packet, ICMP_BYTES + quote, 0)
    if buffer == cython.NULL:
        return
    memcpy(buffer + ICMP_BYTES, packet.record + packet.ip, quote)
    finish(stack, buffer, type, code, 0, ICMP_BYTES + quote)
    count(stack, Counter.ICMP_ERRORS_OUT)


def may_draw_error(packet):
    """RFC 1122 §3.2.2: none about a broadcast or an ICMP error. Fragments and odd sources never get here."""
    if packet.broadcast:
        return False
    if packet.protocol != PROTO_ICMP:
        return True
    return packet.l4_length >= 1 and not is_error(packet.record[packet.l4])


def within_limit(stack):
    """A token bucket: ERROR_BURST errors at once, then one each ERROR_INTERVAL."""
    earned = (stack.now - stack.ip.error_tokens_at) // ERROR_INTERVAL
    if earned:
        stack.ip.error_tokens_at = stack.now
        stack.ip.error_tokens = cython.cast(
            "uint32_t", min(stack.ip.error_tokens + earned, cython.cast("uint64_t", ERROR_BURST))
        )
    if stack.ip.error_tokens == 0:
        return False
    stack.ip.error_tokens -= 1
    return True


def begin(stack, packet, size, tos):
    """Room for an ICMP message of `size` bytes to the packet's source, headers written; NULL: none."""
    if L4_OFFSET + size > REPLY_RECORD_MAX or IPV4_BYTES + size > stack.config.mtu:
        count(stack, Counter.ICMP_IGNORED)
        return cython.NULL
    buffer = reply_reserve(stack)
    if buffer == cython.NULL:
        return buffer
    l4 = ipv4_prepare(stack, buffer, packet.source, PROTO_ICMP, size, tos, 0)
    if l4 < 0:
        return cython.NULL
    return buffer + l4


def finish(stack, message, type, code, rest, size):
    """Write the header, `rest` in network order, and queue the record."""
    icmp = cython.cast("IcmpHeader*", message)
    icmp.type = type
    icmp.code = code
    icmp.checksum = 0
    icmp.rest = rest
    total = checksum_add(message, size, 0)
    icmp.checksum = checksum_fold(total) ^ 0xFFFF
    reply_commit(stack, L4_OFFSET + size)


def error_arrives(stack, packet):
    """An error about something that we sent, it says: it quotes our address and 8 bytes of what followed."""
    count(stack, Counter.ICMP_ERRORS_IN)
    header = cython.cast("IcmpHeader*", packet.record + packet.l4)
    quote = packet.record + packet.l4 + ICMP_BYTES
    size = packet.l4_length - ICMP_BYTES
    if size < IPV4_BYTES + 8:
        count(stack, Counter.ICMP_BAD)
        return
    ip = cython.cast("Ipv4Header*", quote)
    ihl = (ip.version_ihl & 0x0F) * 4
    if ip.version_ihl >> 4 != 4 or ihl < IPV4_BYTES or ihl + 8 > size:
        count(stack, Counter.ICMP_BAD)
        return
    if load_address(ip.source) != stack.ip.address or ip.fragment & htons(IPV4_OFFSET_MASK):
        count(stack, Counter.ICMP_IGNORED)
        return
    memset(cython.address(key), 0, cython.sizeof(key))
    key.family = FAMILY_IPV4
    key.protocol = ip.protocol
    memcpy(key.local, ip.source, 4)
    memcpy(key.remote, ip.destination, 4)
    key.local_port = quote[ihl] << 8 | quote[ihl + 1]
    key.remote_port = quote[ihl + 2] << 8 | quote[ihl + 3]
    if ip.protocol == PROTO_TCP:
        memcpy(cython.address(sequence), quote + ihl + 4, 4)
        # RFC 1191 §4: the next hop's MTU, in the low half.
        mtu = ntohl(header.rest) & 0xFFFF
        if header.type != ICMP_UNREACHABLE or header.code != ICMP_FRAGMENTATION_NEEDED:
            mtu = 0
        tcp_icmp_error(
            stack,
            cython.address(key),
            ntohl(sequence),
            header.type,
            header.code,
            cython.cast("uint16_t", mtu),
        )
    elif ip.protocol == PROTO_UDP:
        udp_icmp_error(stack, cython.address(key), header.type, header.code)
    else:
        count(stack, Counter.ICMP_IGNORED)
