"""Ethernet and IPv4 (RFC 791, RFC 1122 §3): one received record to a Packet for TCP, UDP or ICMP; headers of what is sent.

No forwarding, no reassembly yet: fragments are counted and dropped. Options are skipped.
"""
cimport cython
from libc.errno cimport EINVAL, EMSGSIZE, ENETUNREACH
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from neat.stack.config cimport OFFLOAD_CSUM
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport load_address
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack, count
from neat.wire.checksum cimport checksum_add, checksum_fold
from neat.wire.flow cimport FAMILY_IPV4
from neat.wire.headers cimport (
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS, IPV4_OFFSET_MASK,
    PROTO_ICMP, PROTO_TCP, PROTO_UDP, EthernetHeader, Ipv4Header, htonl, htons, ntohl, ntohs,
)
from neat.wire.vnet cimport (
    VNET_BYTES, VNET_F_DATA_VALID, VNET_F_NEEDS_CSUM, VNET_GSO_ECN, VNET_GSO_NONE, VNET_GSO_TCPV4, VnetHeader,
)

cdef enum:
    ETHERNET_BYTES = 14
    IPV4_BYTES = 20
    IPV4_OFFSET = VNET_BYTES + ETHERNET_BYTES       # of the IP header in a record that we send
    L4_OFFSET = IPV4_OFFSET + IPV4_BYTES            # and of what follows
    DEFAULT_TTL = 64
    IPV4_MAX_L4 = 65535 - IPV4_BYTES
    ACCEPTED = -1                                   # no reason to drop it

cdef enum LinkCast:
    LINK_OURS = 0
    LINK_BROADCAST = 1
    LINK_OTHER = 2

cdef int ipv4_create(Stack* stack) noexcept nogil
cdef void ipv4_destroy(Stack* stack) noexcept nogil

# One record of the receive ring: any bytes, any length.
@cython.locals(eth="EthernetHeader*", cast=int32_t, ethertype=uint16_t)
cdef void ipv4_input(Stack* stack, uint8_t* record, uint32_t length) noexcept nogil

# Write a zeroed virtio-net header, the Ethernet and the IP header (DF set; ttl 0: the default). Returns the offset of the
# transport header in the record; -EAGAIN: the neighbour is not resolved yet, a request is on its way;
# -EHOSTUNREACH, -ENETUNREACH, -EMSGSIZE.
@cython.locals(eth="EthernetHeader*", ip="Ipv4Header*", target=uint32_t, error=int32_t, total=uint64_t)
cdef int32_t ipv4_prepare(
    Stack* stack, uint8_t* buffer, const uint8_t* destination, uint8_t protocol, uint32_t l4_length, uint8_t tos, uint8_t ttl
) noexcept nogil
# Would a frame to `destination` go to the neighbour at `address`?
@cython.locals(hop=uint32_t)
cdef bint ipv4_via(Stack* stack, const uint8_t* destination, const uint8_t* address) noexcept nogil
# Queue an ICMP error about a packet, as the rules allow (RFC 1122 §3.2.2), rate limited.
cdef void ipv4_error(Stack* stack, Packet* packet, uint8_t type, uint8_t code) noexcept nogil

cdef int32_t link_cast(Stack* stack, EthernetHeader* eth) noexcept nogil
@cython.locals(packet=Packet, reason=int32_t)
cdef void receive(Stack* stack, uint8_t* record, uint32_t length, bint link_broadcast) noexcept nogil
@cython.locals(ip="Ipv4Header*", available=uint32_t, header=uint32_t, total=uint32_t)
cdef int32_t check_integrity(uint8_t* record, uint32_t length, Packet* packet) noexcept nogil
@cython.locals(vnet="VnetHeader*", gso=uint8_t, field=uint16_t)
cdef int32_t check_vnet(Stack* stack, Packet* packet) noexcept nogil
@cython.locals(ip="Ipv4Header*", destination=uint32_t)
cdef int32_t check_sense(Stack* stack, Packet* packet, bint link_broadcast) noexcept nogil
cdef void hand_on(Stack* stack, Packet* packet) noexcept nogil
@cython.locals(hop=uint32_t)
cdef int32_t find_mac(Stack* stack, uint32_t target, uint8_t* mac) noexcept nogil
cdef uint32_t next_hop(Stack* stack, uint32_t target) noexcept nogil
cdef bint is_broadcast(Stack* stack, uint32_t address) noexcept nogil
@cython.locals(host=uint32_t)
cdef bint is_martian(Stack* stack, uint32_t source) noexcept nogil
