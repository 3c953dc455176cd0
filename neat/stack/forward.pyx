"""An IP component's side of the port to TCP and UDP. What leaves is held while its neighbour is asked for; a
component whose packet cannot leave hears of it as from a router, by an ICMP error (RFC 1812 §5.2.7.1)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.held cimport held_keep
from neat.stack.icmp cimport ICMP_UNREACHABLE
from neat.stack.ip_private cimport HELD_FAILED, HELD_FREE, HELD_SLOTS, Held, load_address
from neat.stack.ipv4 cimport DEFAULT_TTL, IPV4_BYTES, IPV4_OFFSET, L4_OFFSET, find_mac, next_hop
from neat.stack.neighbour cimport neighbour_known
from neat.stack.types cimport Stack, count
from neat.wire.checksum cimport checksum_add, checksum_fold
from neat.wire.headers cimport (
    ETHERTYPE_IPV4, PROTO_ICMP, EthernetHeader, IcmpHeader, Ipv4Header, htons, ntohs,
)
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    ICMP_BYTES = 8
    QUOTE_MAX = 576 - IPV4_BYTES - ICMP_BYTES       # RFC 1812 §4.3.2.3


cdef bint forward_frame(Stack* stack, uint8_t* record, uint32_t length, uint8_t protocol) noexcept nogil:
    cdef uint8_t hint[6]
    cdef bint hinted
    if not makes_sense(stack, record, length, protocol):
        count(stack, Counter.IP_BAD_FORWARD)
        return False
    eth = <EthernetHeader*>(record + VNET_BYTES)
    cdef uint32_t target = load_address((<Ipv4Header*>(record + IPV4_OFFSET)).destination)
    memcpy(hint, eth.destination, 6)
    hinted = memcmp(hint, b"\0\0\0\0\0\0", 6) != 0 and not hint[0] & 1
    cdef uint32_t hop = next_hop(stack, target)
    if hinted and hop != 0:
        if not neighbour_known(stack, hop, eth.destination):
            memcpy(eth.destination, hint, 6)
    else:
        error = find_mac(stack, target, eth.destination)
        if error:
            held_keep(stack, record, length, protocol, hop, error)
            return False
    memcpy(eth.source, stack.config.mac, 6)
    count(stack, Counter.IP_FORWARDED)
    return True


cdef bint makes_sense(Stack* stack, uint8_t* record, uint32_t length, uint8_t protocol) noexcept nogil:
    """A whole IPv4 packet of ours, as ipv4_prepare() writes it. Whether the virtio-net header fits it is
    checked by the kernel."""
    if length < L4_OFFSET:
        return False
    eth = <EthernetHeader*>(record + VNET_BYTES)
    ip = <Ipv4Header*>(record + IPV4_OFFSET)
    return (
        ntohs(eth.ethertype) == ETHERTYPE_IPV4
        and ip.version_ihl == 0x45
        and IPV4_OFFSET + <uint32_t>ntohs(ip.total_length) == length
        and load_address(ip.source) == stack.ip.address
        and (ip.protocol == protocol or ip.protocol == PROTO_ICMP)
    )


cdef uint32_t forward_poll(Stack* stack, uint8_t* buffer, uint8_t* protocol) noexcept nogil:
    cdef uint32_t i
    if stack.ip.failed == 0:
        return 0
    for i in range(<uint32_t>HELD_SLOTS):
        held = &stack.ip.held[i]
        if held.state != HELD_FAILED:
            continue
        held.state = HELD_FREE
        stack.ip.failed -= 1
        quoted = (<Ipv4Header*>(held.record + IPV4_OFFSET)).protocol
        if quoted == PROTO_ICMP:
            continue  # RFC 1122 §3.2.2: no error about an error
        protocol[0] = held.protocol
        return write_error(stack, buffer, held)
    return 0


cdef uint32_t write_error(Stack* stack, uint8_t* buffer, const Held* held) noexcept nogil:
    """From ourselves to ourselves: the record goes up as an own frame."""
    cdef uint32_t quote = min(held.length - IPV4_OFFSET, <uint32_t>QUOTE_MAX)
    cdef uint32_t size = ICMP_BYTES + quote
    cdef uint64_t total
    memset(buffer, 0, L4_OFFSET + ICMP_BYTES)
    eth = <EthernetHeader*>(buffer + VNET_BYTES)
    memcpy(eth.destination, stack.config.mac, 6)
    memcpy(eth.source, stack.config.mac, 6)
    eth.ethertype = htons(ETHERTYPE_IPV4)
    ip = <Ipv4Header*>(buffer + IPV4_OFFSET)
    ip.version_ihl, ip.ttl, ip.protocol = 0x45, DEFAULT_TTL, PROTO_ICMP
    ip.total_length = htons(<uint16_t>(IPV4_BYTES + size))
    memcpy(ip.source, stack.config.address, 4)
    memcpy(ip.destination, stack.config.address, 4)
    total = checksum_add(<uint8_t*>ip, IPV4_BYTES, 0)
    ip.checksum = checksum_fold(total) ^ 0xFFFF
    icmp = <IcmpHeader*>(buffer + L4_OFFSET)
    icmp.type, icmp.code = ICMP_UNREACHABLE, held.code
    memcpy(buffer + L4_OFFSET + ICMP_BYTES, held.record + IPV4_OFFSET, quote)
    total = checksum_add(buffer + L4_OFFSET, size, 0)
    icmp.checksum = checksum_fold(total) ^ 0xFFFF
    return L4_OFFSET + size
