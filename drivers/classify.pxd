"""What a frame is, for steering: its 5-tuple in the stack's view, or the reason why it has none.

The bytes may be anything: nothing is read beyond their length, and nothing loops without a bound.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.wire.flow cimport FAMILY_IPV4, FAMILY_IPV6, FlowKey
from neat.wire.headers cimport (
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_MORE_FRAGMENTS, IPV4_OFFSET_MASK, PROTO_ICMP, PROTO_ICMPV6,
    PROTO_TCP, PROTO_UDP,
)
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    HEADERS_MAX = 256               # of a record: all headers that steering looks at lie in its first bytes
    ETHERNET_BYTES = 14
    IPV6_EXTENSIONS_MAX = 8

cpdef enum PacketKind:
    PACKET_MALFORMED = 0            # cut off, or contradicts itself
    PACKET_NOT_IP = 1               # neither IP nor ARP
    PACKET_TUPLE = 2                # key has addresses and ports
    PACKET_HOSTS = 3                # key has addresses only: a protocol without ports, or a later fragment
    PACKET_ICMP_ERROR = 4           # key is the 5-tuple that it quotes
    PACKET_NEIGHBOUR_QUERY = 5      # ARP request, neighbour solicitation: one replica answers; key: who asks whom
    PACKET_NEIGHBOUR_NEWS = 6       # ARP reply or announcement, neighbour or router advertisement: every replica wants to know

cpdef enum FragmentPart:
    FRAGMENT_NONE = 0
    FRAGMENT_FIRST = 1              # has the ports
    FRAGMENT_LATER = 2              # has not

cdef struct Packet:
    FlowKey key
    uint32_t fragment_id
    uint8_t kind                    # a PacketKind
    uint8_t fragment                # a FragmentPart
    uint8_t tcp_flags               # zero when it is not TCP, and for what an error quotes

# record: virtio-net header, then the Ethernet frame. outgoing: it comes from the stack, so the source is the local end.
# The headers are copied before they are looked at: whoever shares the memory cannot change them in between.
cdef void classify_record(const uint8_t* record, uint32_t length, bint outgoing, Packet* packet) noexcept nogil

# Parts of the above. frame, ip, data: private memory with `length` bytes.
cdef int classify_frame(const uint8_t* frame, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int classify_arp(const uint8_t* arp, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int classify_ip(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int classify_ports(const uint8_t* data, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int classify_icmp(const uint8_t* data, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int classify_quote(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
# Fill key and fragment from an IP header. Returns where the transport header starts, -1 when malformed.
cdef int read_ip(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int read_ipv4(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef int read_ipv6(const uint8_t* ip, uint32_t length, bint outgoing, Packet* packet) noexcept nogil
cdef void set_addresses(FlowKey* key, const uint8_t* source, const uint8_t* destination, uint32_t width, bint outgoing) noexcept nogil
cdef void set_ports(FlowKey* key, const uint8_t* ports, bint outgoing) noexcept nogil

cdef inline uint32_t be16_at(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 8) | p[1]

cdef inline uint32_t be32_at(const uint8_t* p) noexcept nogil:
    return (be16_at(p) << 16) | be16_at(p + 2)
