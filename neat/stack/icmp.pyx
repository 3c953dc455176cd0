"""ICMP. Everything that is sent here goes through the bounded reply queue."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.stack.config cimport PART_IP
from neat.stack.counters cimport Counter
from neat.stack.held cimport hand_up
from neat.stack.ip_private cimport load_address
from neat.stack.ipv4 cimport IPV4_BYTES, IPV4_OFFSET, L4_OFFSET, ipv4_prepare
from neat.stack.packet cimport Packet
from neat.stack.reply cimport reply_commit, reply_reserve
from neat.stack.tcp.icmp cimport tcp_icmp_error
from neat.stack.types cimport REPLY_BYTES, Stack, count
from neat.stack.udp cimport udp_icmp_error
from neat.wire.checksum cimport checksum_add, checksum_fold
from neat.wire.flow cimport FAMILY_IPV4, FlowKey
from neat.wire.headers cimport (
    IPV4_OFFSET_MASK, PROTO_ICMP, PROTO_TCP, PROTO_UDP, IcmpHeader, Ipv4Header, htons, ntohl,
)

cdef enum:
    ICMP_BYTES = 8
    REPLY_RECORD_MAX = REPLY_BYTES - 4
    ERROR_MAX = 576                 # bytes of an error's IP packet (RFC 1812 §4.3.2.3)
    ERROR_BURST = 50                # errors at once ...
    ERROR_INTERVAL = 5_000_000      # ... and one more after each so many ns


cdef void icmp_input(Stack* stack, Packet* packet) noexcept nogil:
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


cdef bint is_error(uint8_t type) noexcept nogil:
    return type in (ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM)


cdef void echo(Stack* stack, Packet* packet) noexcept nogil:
    """RFC 792: the same data, identifier and sequence number, back to the source."""
    cdef uint32_t size = packet.l4_length
    cdef uint8_t* buffer = begin(stack, packet, size, packet.tos)
    if buffer == NULL:
        return
    memcpy(buffer, packet.record + packet.l4, size)
    finish(stack, buffer, ICMP_ECHO_REPLY, 0, (<IcmpHeader*>buffer).rest, size)
    count(stack, Counter.ICMP_ECHO_OUT)


cdef void icmp_error(Stack* stack, Packet* packet, uint8_t type, uint8_t code) noexcept nogil:
    if not may_draw_error(packet):
        return
    if not within_limit(stack):
        count(stack, Counter.ICMP_LIMITED)
        return
    cdef uint32_t quote = min(packet.ip_length, <uint32_t>(ERROR_MAX - IPV4_BYTES - ICMP_BYTES))
    cdef uint8_t* buffer = begin(stack, packet, ICMP_BYTES + quote, 0)
    if buffer == NULL:
        return
    memcpy(buffer + ICMP_BYTES, packet.record + packet.ip, quote)
    finish(stack, buffer, type, code, 0, ICMP_BYTES + quote)
    count(stack, Counter.ICMP_ERRORS_OUT)


cdef bint may_draw_error(Packet* packet) noexcept nogil:
    """RFC 1122 §3.2.2: none about a broadcast or an ICMP error. Fragments and odd sources never get here."""
    if packet.broadcast:
        return False
    if packet.protocol != PROTO_ICMP:
        return True
    return packet.l4_length >= 1 and not is_error(packet.record[packet.l4])


cdef bint within_limit(Stack* stack) noexcept nogil:
    """A token bucket: ERROR_BURST errors at once, then one each ERROR_INTERVAL."""
    cdef uint64_t earned = (stack.now - stack.ip.error_tokens_at) // ERROR_INTERVAL
    if earned:
        stack.ip.error_tokens_at = stack.now
        stack.ip.error_tokens = <uint32_t>min(stack.ip.error_tokens + earned, <uint64_t>ERROR_BURST)
    if stack.ip.error_tokens == 0:
        return False
    stack.ip.error_tokens -= 1
    return True


cdef uint8_t* begin(Stack* stack, Packet* packet, uint32_t size, uint8_t tos) noexcept nogil:
    """Room for an ICMP message of `size` bytes to the packet's source, headers written; NULL: none."""
    if L4_OFFSET + size > REPLY_RECORD_MAX or IPV4_BYTES + size > stack.config.mtu:
        count(stack, Counter.ICMP_IGNORED)
        return NULL
    buffer = reply_reserve(stack)
    if buffer == NULL:
        return buffer
    cdef int l4 = ipv4_prepare(stack, buffer, packet.source, PROTO_ICMP, size, tos, 0)
    if l4 < 0:
        return NULL
    return buffer + l4


cdef void finish(
    Stack* stack, uint8_t* message, uint8_t type, uint8_t code, uint32_t rest, uint32_t size
) noexcept nogil:
    """Write the header, `rest` in network order, and queue the record."""
    cdef IcmpHeader* icmp = <IcmpHeader*>message
    icmp.type = type
    icmp.code = code
    icmp.checksum = 0
    icmp.rest = rest
    cdef uint64_t total = checksum_add(message, size, 0)
    icmp.checksum = checksum_fold(total) ^ 0xFFFF
    reply_commit(stack, L4_OFFSET + size)


cdef void error_arrives(Stack* stack, Packet* packet) noexcept nogil:
    """RFC 1191 §4: the next hop's MTU, in the low half of the second word."""
    cdef uint16_t mtu = 0
    cdef IcmpHeader* header = <IcmpHeader*>(packet.record + packet.l4)
    count(stack, Counter.ICMP_ERRORS_IN)
    if header.type == ICMP_UNREACHABLE and header.code == ICMP_FRAGMENTATION_NEEDED:
        mtu = <uint16_t>(ntohl(header.rest) & 0xFFFF)
    size = packet.l4_length - ICMP_BYTES
    tell(stack, packet.record + packet.l4 + ICMP_BYTES, size, header.type, header.code, mtu)


cdef void own_frame_refused(Stack* stack, const uint8_t* frame, uint32_t length, uint8_t code) noexcept nogil:
    tell(stack, frame + IPV4_OFFSET, length - IPV4_OFFSET, ICMP_UNREACHABLE, code, 0)


cdef void tell(
    Stack* stack, const uint8_t* quote, uint32_t size, uint8_t type, uint8_t code, uint16_t mtu
) noexcept nogil:
    """An error about something that we sent, it says: it quotes our address and 8 bytes of what followed."""
    cdef FlowKey key
    cdef uint32_t sequence
    if size < IPV4_BYTES + 8:
        count(stack, Counter.ICMP_BAD)
        return
    cdef const Ipv4Header* ip = <const Ipv4Header*>quote
    cdef uint32_t ihl = (ip.version_ihl & 0x0F) * 4
    if ip.version_ihl >> 4 != 4 or ihl < IPV4_BYTES or ihl + 8 > size:
        count(stack, Counter.ICMP_BAD)
        return
    if load_address(ip.source) != stack.ip.address or ip.fragment & htons(IPV4_OFFSET_MASK):
        count(stack, Counter.ICMP_IGNORED)
        return
    if stack.config.part == PART_IP and hand_up(stack, ip.protocol):
        return
    memset(&key, 0, sizeof(key))
    key.family = FAMILY_IPV4
    key.protocol = ip.protocol
    memcpy(key.local, ip.source, 4)
    memcpy(key.remote, ip.destination, 4)
    key.local_port = quote[ihl] << 8 | quote[ihl + 1]
    key.remote_port = quote[ihl + 2] << 8 | quote[ihl + 3]
    if ip.protocol == PROTO_TCP:
        memcpy(&sequence, quote + ihl + 4, 4)
        tcp_icmp_error(stack, &key, ntohl(sequence), type, code, mtu)
    elif ip.protocol == PROTO_UDP:
        udp_icmp_error(stack, &key, type, code)
    else:
        count(stack, Counter.ICMP_IGNORED)
