"""Who gets a packet (ARCHITECTURE.md, "The driver"): the flow table first, then the indirection table by Toeplitz hash. And what is learnt on the way."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.drivers.classify cimport (
    FRAGMENT_FIRST, FRAGMENT_LATER, PACKET_HOSTS, PACKET_ICMP_ERROR, PACKET_MALFORMED, PACKET_NEIGHBOUR_NEWS, PACKET_NEIGHBOUR_QUERY,
    PACKET_NOT_IP, PACKET_TUPLE, Packet,
)
from neat.drivers.flows cimport (
    FlowTable, flow_find, flow_forget, flow_learn, flows_attach, flows_check, key_sound,
)
from neat.drivers.fragments cimport FragmentTable, fragments_find, fragments_note
from neat.drivers.toeplitz cimport Toeplitz, toeplitz_flow, toeplitz_init
from neat.shm.atomic cimport load32, store32
from neat.shm.board cimport BoardPage, board_count
from neat.shm.counters cimport (
    DRV_DROP_MALFORMED, DRV_DROP_NO_REPLICA, DRV_DROP_NOT_IP, DRV_DROP_SLOT_INACTIVE, DRV_FLOW_FOREIGN, DRV_FLOWS_DELETED,
    DRV_FRAGMENTS_UNMATCHED, DRV_STEER_BROADCAST, DRV_STEER_FLOW, DRV_STEER_INDIRECTION,
)
from neat.shm.steering cimport (
    FLOW_FADING, FLOW_LIVE, FLOW_NEW, INDIRECTION_ENTRIES, MAX_REPLICAS, SLOT_ACTIVE, SLOT_RECOVERING, SLOT_TERMINATING, FlowEntry, SteeringHeader,
)
from neat.wire.flow cimport FlowKey
from neat.wire.headers cimport PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_RST, TCP_SYN

cdef enum:
    STEER_ALL = -1                      # a copy to every replica that gets packets
    STEER_DROP = -2                     # counted already

cdef struct Steering:                   # private
    SteeringHeader* header              # written by the supervisor at any time: each word is checked where it is used
    BoardPage* page                     # the driver's own: counters
    uint64_t now
    FlowTable flows
    FragmentTable fragments
    Toeplitz toeplitz

# header: the steering segment, with room for flow_capacity entries. -1 if the capacity is no power of two.
cdef int steer_attach(Steering* steering, SteeringHeader* header, FlowEntry* entries, uint32_t flow_capacity, BoardPage* page) noexcept nogil
cdef void steer_clock(Steering* steering, uint64_t now) noexcept nogil
# A packet from the wire: the replica that gets it, STEER_ALL or STEER_DROP. Learns the flow of a SYN.
cdef int steer_arrival(Steering* steering, const Packet* packet) noexcept nogil
# A packet of a replica that leaves: learns and confirms flows.
cdef void steer_departure(Steering* steering, const Packet* packet, uint32_t replica) noexcept nogil
# What a replica says about a flow. 0, or -1 when the key is no key, or the flow is another replica's.
cdef int steer_add(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil
cdef int steer_fade(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil
cdef int steer_delete(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil
# Whether packets go to a slot now. Those of a recovering replica wait in its ring.
cdef bint slot_open(Steering* steering, uint32_t replica) noexcept nogil

# RFC 9293 §3.10.7.2: whether a segment with these flags asks for a connection.
cdef inline bint opens(uint32_t flags) noexcept nogil:
    return (flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN

cdef int by_flow(Steering* steering, const FlowKey* key, bint ports) noexcept nogil
cdef int by_hash(Steering* steering, const FlowKey* key, bint ports) noexcept nogil
cdef int by_tuple(Steering* steering, const Packet* packet) noexcept nogil
cdef int choose(Steering* steering, const Packet* packet) noexcept nogil
