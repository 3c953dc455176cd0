"""ARP for Ethernet and IPv4."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport load_address
from neat.stack.neighbour cimport neighbour_learn
from neat.stack.reply cimport reply_commit, reply_reserve
from neat.stack.types cimport Stack, count
from neat.wire.headers cimport ETHERTYPE_ARP, ETHERTYPE_IPV4, ArpPacket, EthernetHeader, htons
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    ARP_HARDWARE_ETHERNET = 1       # RFC 826
    ARP_REQUEST = 1
    ARP_REPLY = 2
    ARP_RECORD = 10 + 14 + 28       # vnet header, Ethernet header, ARP
    DEFEND_INTERVAL = 10_000_000_000    # RFC 5227 §2.4 (c)


cdef void arp_input(Stack* stack, uint8_t* record, uint32_t length) noexcept nogil:
    count(stack, Counter.ARP_IN)
    cdef ArpPacket* arp = <ArpPacket*>(record + VNET_BYTES + sizeof(EthernetHeader))
    if not well_formed(arp, length):
        count(stack, Counter.ARP_BAD)
        return
    cdef uint32_t sender = load_address(arp.sender_ip)
    cdef uint32_t target = load_address(arp.target_ip)
    if sender == stack.ip.address:
        conflict(stack, arp)
        return
    # A probe (RFC 5227 §1.1) has no sender address: nothing to learn.
    if sender != 0:
        neighbour_learn(stack, sender, arp.sender_mac)
    if arp.operation == htons(ARP_REQUEST) and target == stack.ip.address:
        answer(stack, arp)


cdef bint well_formed(ArpPacket* arp, uint32_t length) noexcept nogil:
    if length < ARP_RECORD:
        return False
    if arp.hardware != htons(ARP_HARDWARE_ETHERNET) or arp.protocol != htons(ETHERTYPE_IPV4):
        return False
    if arp.hardware_length != 6 or arp.protocol_length != 4:
        return False
    if arp.operation != htons(ARP_REQUEST) and arp.operation != htons(ARP_REPLY):
        return False
    # A group address is nobody's own.
    return not arp.sender_mac[0] & 1


cdef void answer(Stack* stack, ArpPacket* request) noexcept nogil:
    cdef uint8_t* buffer = reply_reserve(stack)
    if buffer == NULL:
        return
    reply_commit(stack, write(stack, buffer, ARP_REPLY, request.sender_ip, request.sender_mac))
    count(stack, Counter.ARP_REPLIES_OUT)


cdef void conflict(Stack* stack, ArpPacket* arp) noexcept nogil:
    """Somebody else uses our address: defend it, but not in a duel (RFC 5227 §2.4 (c)). Our echo is none."""
    if memcmp(arp.sender_mac, stack.config.mac, 6) == 0:
        return
    count(stack, Counter.ARP_CONFLICT)
    if stack.ip.defended_at == 0 or stack.now - stack.ip.defended_at >= DEFEND_INTERVAL:
        stack.ip.defended_at = stack.now
        stack.ip.announce = True


cdef uint32_t arp_request(
    Stack* stack, uint8_t* buffer, const uint8_t* address, const uint8_t* mac
) noexcept nogil:
    count(stack, Counter.ARP_REQUESTS_OUT)
    return write(stack, buffer, ARP_REQUEST, address, mac)


cdef uint32_t arp_announce(Stack* stack, uint8_t* buffer) noexcept nogil:
    return write(stack, buffer, ARP_REQUEST, stack.config.address, NULL)


cdef uint32_t write(
    Stack* stack, uint8_t* buffer, uint16_t operation, const uint8_t* target, const uint8_t* mac
) noexcept nogil:
    memset(buffer, 0, ARP_RECORD)
    cdef EthernetHeader* eth = <EthernetHeader*>(buffer + VNET_BYTES)
    if mac == NULL:
        memset(eth.destination, 0xFF, 6)
    else:
        memcpy(eth.destination, mac, 6)
    memcpy(eth.source, stack.config.mac, 6)
    eth.ethertype = htons(ETHERTYPE_ARP)
    cdef ArpPacket* arp = <ArpPacket*>(buffer + VNET_BYTES + sizeof(EthernetHeader))
    arp.hardware = htons(ARP_HARDWARE_ETHERNET)
    arp.protocol = htons(ETHERTYPE_IPV4)
    arp.hardware_length = 6
    arp.protocol_length = 4
    arp.operation = htons(operation)
    memcpy(arp.sender_mac, stack.config.mac, 6)
    memcpy(arp.sender_ip, stack.config.address, 4)
    if mac != NULL:
        memcpy(arp.target_mac, mac, 6)
    memcpy(arp.target_ip, target, 4)
    return ARP_RECORD
