"""ARP for Ethernet and IPv4 (RFC 826, RFC 5227): reading what comes, writing what goes. What is known is neighbour's."""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport load_address
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

# A frame of at least VNET_BYTES + 14 bytes with ethertype ARP, addressed to us or to all.
@cython.locals(arp="ArpPacket*", sender=uint32_t, target=uint32_t)
cdef void arp_input(Stack* stack, uint8_t* record, uint32_t length) noexcept nogil
# Write a request for `address` as a record, to `mac` or, with NULL, to everybody. Returns its length.
cdef uint32_t arp_request(Stack* stack, uint8_t* buffer, const uint8_t* address, const uint8_t* mac) noexcept nogil
# Write an announcement of our own address (RFC 5227 §2.3).
cdef uint32_t arp_announce(Stack* stack, uint8_t* buffer) noexcept nogil

cdef bint well_formed(ArpPacket* arp, uint32_t length) noexcept nogil
@cython.locals(buffer="uint8_t*")
cdef void answer(Stack* stack, ArpPacket* request) noexcept nogil
cdef void conflict(Stack* stack, ArpPacket* arp) noexcept nogil
@cython.locals(eth="EthernetHeader*", arp="ArpPacket*")
cdef uint32_t write(Stack* stack, uint8_t* buffer, uint16_t operation, const uint8_t* target, const uint8_t* mac) noexcept nogil
