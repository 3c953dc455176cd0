"""Ethernet and IPv4. Received: safe to parse? Does it make sense? Whose is it? Each check has a counter."""

from libc.errno cimport EINVAL, EMSGSIZE, ENETUNREACH
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from neat.shm.filter cimport VERDICT_ACCEPT, VERDICT_REJECT, VERDICT_RESET
from neat.stack.arp cimport arp_input
from neat.stack.config cimport OFFLOAD_CSUM, PART_IP, PART_TRANSPORT
from neat.stack.counters cimport Counter
from neat.stack.filter cimport filter_acts, filter_input
from neat.stack.held cimport held_create, held_destroy, hand_up
from neat.stack.icmp cimport ICMP_PROTOCOL_UNREACHABLE, ICMP_UNREACHABLE, icmp_error, icmp_input, is_error
from neat.stack.ip_private cimport load_address
from neat.stack.neighbour cimport neighbour_confirm, neighbour_create, neighbour_known, neighbour_resolve
from neat.stack.packet cimport Packet
from neat.stack.tcp.input cimport tcp_input
from neat.stack.tcp.respond cimport respond_refused
from neat.stack.types cimport Stack, count
from neat.stack.udp cimport udp_input
from neat.wire.checksum cimport checksum_add, checksum_fold
from neat.wire.flow cimport FAMILY_IPV4
from neat.wire.headers cimport (
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS,
    IPV4_OFFSET_MASK, PROTO_ICMP, PROTO_TCP, PROTO_UDP, EthernetHeader, Ipv4Header, htonl, htons, ntohl,
    ntohs,
)
from neat.wire.vnet cimport (
    VNET_BYTES, VNET_F_DATA_VALID, VNET_F_NEEDS_CSUM, VNET_GSO_ECN, VNET_GSO_NONE, VNET_GSO_TCPV4, VnetHeader,
)

cdef enum LinkCast:
    LINK_OURS = 0
    LINK_BROADCAST = 1
    LINK_OTHER = 2


cdef int ipv4_create(Stack* stack) noexcept nogil:
    stack.ip.address = load_address(stack.config.address)
    stack.ip.gateway = load_address(stack.config.gateway)
    if stack.config.prefix == 0 or stack.config.prefix > 30:
        return -EINVAL
    stack.ip.mask = htonl(<uint32_t>0xFFFFFFFF << (32 - stack.config.prefix))
    neighbour_create(stack)
    return held_create(stack)


cdef void ipv4_destroy(Stack* stack) noexcept nogil:
    held_destroy(stack)
    stack.ip.announce = False


cdef void ipv4_input(Stack* stack, uint8_t* record, uint32_t length) noexcept nogil:
    count(stack, Counter.RX_FRAMES)
    if length < VNET_BYTES + ETHERNET_BYTES:
        count(stack, Counter.RX_RUNT)
        return
    stack.counters[<uint32_t>Counter.RX_BYTES] += length - VNET_BYTES
    cdef EthernetHeader* eth = <EthernetHeader*>(record + VNET_BYTES)
    cdef int32_t cast = link_cast(stack, eth)
    if cast == LINK_OTHER:
        count(stack, Counter.RX_NOT_FOR_US)
        return
    cdef uint16_t ethertype = ntohs(eth.ethertype)
    if ethertype == ETHERTYPE_IPV4:
        receive(stack, record, length, cast == LINK_BROADCAST)
    elif stack.ip.own_frame:
        count(stack, Counter.RX_NOT_FOR_US)
    elif ethertype == ETHERTYPE_ARP:
        arp_input(stack, record, length)
    elif ethertype == ETHERTYPE_IPV6:
        count(stack, Counter.RX_IPV6)
    elif ethertype == ETHERTYPE_VLAN:
        count(stack, Counter.RX_VLAN)
    else:
        count(stack, Counter.RX_UNKNOWN_ETHERTYPE)


cdef int32_t link_cast(Stack* stack, EthernetHeader* eth) noexcept nogil:
    if memcmp(eth.destination, stack.config.mac, 6) == 0:
        return LINK_OURS
    if memcmp(eth.destination, b"\xff\xff\xff\xff\xff\xff", 6) == 0:
        return LINK_BROADCAST
    return LINK_OTHER


cdef void receive(Stack* stack, uint8_t* record, uint32_t length, bint link_broadcast) noexcept nogil:
    cdef Packet packet
    cdef int32_t reason = check_integrity(record, length, &packet)
    if reason == ACCEPTED:
        reason = check_sense(stack, &packet, link_broadcast)
    if reason == ACCEPTED:
        reason = check_vnet(stack, &packet)
    if reason != ACCEPTED:
        count(stack, reason)
        return
    count(stack, Counter.IP_IN)
    packet.now = stack.now
    stack.ip.hand_source = load_address(packet.source)
    memcpy(stack.ip.hand_mac, record + VNET_BYTES + 6, 6)
    neighbour_confirm(stack, stack.ip.hand_source, stack.ip.hand_mac)
    if goes_up(stack, &packet) or not filter_acts(stack) or passes(stack, &packet):
        hand_on(stack, &packet)
    stack.ip.hand_source = 0


cdef bint goes_up(Stack* stack, const Packet* packet) noexcept nogil:
    """An IP part leaves to the other parts to judge what they can tell the state of."""
    if stack.config.part != PART_IP:
        return False
    if packet.protocol != PROTO_ICMP:
        return packet.protocol == PROTO_TCP or packet.protocol == PROTO_UDP
    return packet.l4_length >= 1 and is_error(packet.record[packet.l4])


cdef bint passes(Stack* stack, Packet* packet) noexcept nogil:
    """The filter lets it through; if not, its source may be told."""
    judgement = filter_input(stack, packet)
    if judgement.verdict == VERDICT_RESET:
        respond_refused(stack, packet)
    elif judgement.verdict == VERDICT_REJECT:
        icmp_error(stack, packet, ICMP_UNREACHABLE, judgement.code)
    return judgement.verdict == VERDICT_ACCEPT


cdef int32_t check_integrity(uint8_t* record, uint32_t length, Packet* packet) noexcept nogil:
    """Safe to parse: each length is inside the frame, the header's checksum is right. Fills in packet."""
    cdef uint32_t available = length - IPV4_OFFSET
    if available < IPV4_BYTES:
        return Counter.RX_RUNT
    cdef Ipv4Header* ip = <Ipv4Header*>(record + IPV4_OFFSET)
    cdef uint32_t header = (ip.version_ihl & 0x0F) * 4
    cdef uint32_t total = ntohs(ip.total_length)
    if ip.version_ihl >> 4 != 4 or header < IPV4_BYTES or total < header or total > available:
        return Counter.IP_BAD_HEADER
    # RFC 1122 §3.2.1.2: verified always; the device vouches for transport checksums only.
    if checksum_fold(checksum_add(record + IPV4_OFFSET, header, 0)) != 0xFFFF:
        return Counter.IP_BAD_CHECKSUM
    memset(packet, 0, sizeof(packet[0]))
    packet.record = record
    packet.length = length
    packet.ip = IPV4_OFFSET
    packet.ip_length = total
    packet.l4 = IPV4_OFFSET + header
    packet.l4_length = total - header
    packet.family = FAMILY_IPV4
    packet.protocol = ip.protocol
    packet.tos = ip.tos
    packet.ttl = ip.ttl
    memcpy(packet.source, ip.source, 4)
    memcpy(packet.destination, ip.destination, 4)
    return ACCEPTED


cdef int32_t check_sense(Stack* stack, Packet* packet, bint link_broadcast) noexcept nogil:
    """Makes sense: whole, for us, from somebody. TTL does not matter here (RFC 1122 §3.2.1.7)."""
    cdef Ipv4Header* ip = <Ipv4Header*>(packet.record + packet.ip)
    cdef uint32_t destination = load_address(packet.destination)
    if destination != stack.ip.address:
        if not is_broadcast(stack, destination):
            return Counter.RX_NOT_FOR_US
        packet.broadcast = True
    elif link_broadcast:
        # RFC 1122 §3.3.6: discard what came by link broadcast for one host.
        return Counter.RX_NOT_FOR_US
    # A group address is nobody's own; an answer to it would go to many.
    if packet.record[VNET_BYTES + 6] & 1:
        return Counter.IP_BAD_ADDRESS
    if stack.ip.own_frame:
        if load_address(packet.source) != stack.ip.address:
            return Counter.IP_BAD_ADDRESS
    elif is_martian(stack, load_address(packet.source)):
        return Counter.IP_BAD_ADDRESS
    if ip.fragment & htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK):
        return Counter.IP_FRAGMENT
    if packet.l4 != L4_OFFSET:
        count(stack, Counter.IP_OPTIONS)
    return ACCEPTED


cdef int32_t check_vnet(Stack* stack, Packet* packet) noexcept nogil:
    """What the device says about checksum and size fits the packet (virtio 1.2 §5.1.6.4.2)."""
    cdef uint16_t field
    cdef VnetHeader* vnet = <VnetHeader*>packet.record
    cdef uint8_t gso = vnet.gso_type & ~VNET_GSO_ECN
    if gso == VNET_GSO_TCPV4:
        if packet.protocol != PROTO_TCP or vnet.gso_size == 0:
            return Counter.RX_BAD_VNET
        packet.gso_size = vnet.gso_size
    elif gso != VNET_GSO_NONE:
        return Counter.RX_BAD_VNET
    if not stack.config.offloads & OFFLOAD_CSUM:
        return ACCEPTED
    if vnet.flags & VNET_F_NEEDS_CSUM:
        field = 16 if packet.protocol == PROTO_TCP else 6
        if vnet.csum_start != packet.l4 - VNET_BYTES or vnet.csum_offset != field:
            return Counter.RX_BAD_VNET
        packet.csum_ok = True
    elif vnet.flags & VNET_F_DATA_VALID:
        packet.csum_ok = True
    return ACCEPTED


cdef void hand_on(Stack* stack, Packet* packet) noexcept nogil:
    if stack.config.part == PART_IP and hand_up(stack, packet.protocol):
        return
    if packet.protocol == PROTO_TCP:
        tcp_input(stack, packet)
    elif packet.protocol == PROTO_UDP:
        udp_input(stack, packet)
    elif packet.protocol == PROTO_ICMP:
        icmp_input(stack, packet)
    else:
        count(stack, Counter.IP_UNKNOWN_PROTOCOL)
        ipv4_error(stack, packet, ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE)


cdef void ipv4_error(Stack* stack, Packet* packet, uint8_t type, uint8_t code) noexcept nogil:
    icmp_error(stack, packet, type, code)


cdef int32_t ipv4_prepare(
    Stack* stack, uint8_t* buffer, const uint8_t* destination, uint8_t protocol, uint32_t l4_length,
    uint8_t tos, uint8_t ttl
) noexcept nogil:
    if l4_length > IPV4_MAX_L4:
        return -EMSGSIZE
    cdef uint32_t target = load_address(destination)
    cdef EthernetHeader* eth = <EthernetHeader*>(buffer + VNET_BYTES)
    cdef int32_t error = find_mac(stack, target, eth.destination)
    if error:
        return error
    memset(buffer, 0, VNET_BYTES)
    memcpy(eth.source, stack.config.mac, 6)
    eth.ethertype = htons(ETHERTYPE_IPV4)
    cdef Ipv4Header* ip = <Ipv4Header*>(buffer + IPV4_OFFSET)
    ip.version_ihl = 0x45
    ip.tos = tos
    ip.total_length = htons(<uint16_t>(IPV4_BYTES + l4_length))
    ip.identification = htons(stack.ip.identification)
    stack.ip.identification += 1
    ip.fragment = htons(IPV4_DONT_FRAGMENT)
    ip.ttl = ttl if ttl else DEFAULT_TTL
    ip.protocol = protocol
    ip.checksum = 0
    memcpy(ip.source, stack.config.address, 4)
    memcpy(ip.destination, &target, 4)
    cdef uint64_t total = checksum_add(<uint8_t*>ip, IPV4_BYTES, 0)
    ip.checksum = checksum_fold(total) ^ 0xFFFF
    count(stack, Counter.IP_OUT)
    return L4_OFFSET


cdef bint ipv4_via(Stack* stack, const uint8_t* destination, const uint8_t* address) noexcept nogil:
    cdef uint32_t hop = next_hop(stack, load_address(destination))
    return hop != 0 and hop == load_address(address)


cdef int32_t find_mac(Stack* stack, uint32_t target, uint8_t* mac) noexcept nogil:
    if is_broadcast(stack, target):
        memset(mac, 0xFF, 6)
        return 0
    if target == stack.ip.address:
        # The driver turns it round.
        memcpy(mac, stack.config.mac, 6)
        return 0
    cdef uint32_t hop = next_hop(stack, target)
    if hop == 0:
        count(stack, Counter.IP_NO_ROUTE)
        return -ENETUNREACH
    # A reply to the packet in hand needs no resolution and makes no entry: it goes back where that came from.
    if target == stack.ip.hand_source:
        if not neighbour_known(stack, hop, mac):
            memcpy(mac, stack.ip.hand_mac, 6)
        return 0
    if stack.config.part == PART_TRANSPORT:
        memset(mac, 0, 6)
        return 0
    return neighbour_resolve(stack, hop, mac)


cdef uint32_t next_hop(Stack* stack, uint32_t target) noexcept nogil:
    if target == stack.ip.address or is_martian(stack, target):
        return 0
    if (target ^ stack.ip.address) & stack.ip.mask == 0:
        return target
    return stack.ip.gateway


cdef bint is_broadcast(Stack* stack, uint32_t address) noexcept nogil:
    """The limited or our network's own broadcast address (RFC 1122 §3.2.1.3 (c), (d))."""
    return address == <uint32_t>0xFFFFFFFF or address == stack.ip.address | ~stack.ip.mask


cdef bint is_martian(Stack* stack, uint32_t source) noexcept nogil:
    """An address that no packet on a wire may come from (RFC 1122 §3.2.1.3), our own included."""
    cdef uint32_t host = ntohl(source)
    if (
        source == stack.ip.address
        or is_broadcast(stack, source)
        or source == stack.ip.address & stack.ip.mask
    ):
        return True
    # this network, loopback, multicast and reserved
    return host >> 24 == 0 or host >> 24 == 127 or host >> 28 >= 14
