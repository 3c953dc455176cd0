"""What a frame is, for steering: its 5-tuple in the stack's view, or the reason why it has none.

The bytes may be anything: nothing is read beyond their length, and nothing loops without a bound.
"""

from libc.stdint cimport uint8_t, uint32_t
from neat.wire.flow cimport FlowKey

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
    # ARP request, neighbour solicitation: one replica answers; key: who asks whom
    PACKET_NEIGHBOUR_QUERY = 5
    # ARP reply or announcement, neighbour or router advertisement: every replica wants to know
    PACKET_NEIGHBOUR_NEWS = 6

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

# record: virtio-net header, then the Ethernet frame. outgoing: it comes from the stack, so the source is the
# local end.
# The headers are copied before they are looked at: whoever shares the memory cannot change them in between.
cdef void classify_record(
    const uint8_t* record, uint32_t length, bint outgoing, Packet* packet
) noexcept nogil

cdef inline uint32_t be16_at(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 8) | p[1]
