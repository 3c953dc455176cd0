"""Who gets a packet (ARCHITECTURE.md, "The driver"): the flow table first, then the indirection table by
Toeplitz hash. And what is learnt on the way."""

from libc.stdint cimport uint32_t, uint64_t
from neat.drivers.classify cimport Packet
from neat.drivers.flows cimport FlowTable
from neat.drivers.fragments cimport FragmentTable
from neat.drivers.toeplitz cimport Toeplitz
from neat.shm.board cimport BoardPage
from neat.shm.steering cimport QUARANTINES, FlowEntry, Quarantine, SteeringHeader
from neat.wire.flow cimport FlowKey

cdef enum:
    STEER_ALL = -1                      # a copy to every replica that gets packets
    STEER_DROP = -2                     # counted already

cdef struct Steering:                   # private
    # written by the supervisor at any time: each word is checked where it is used
    SteeringHeader* header
    BoardPage* page                     # the driver's own: counters
    uint64_t now
    Quarantine quarantine[QUARANTINES]  # as last seen
    uint64_t quarantined                # ns; none is in force after that
    FlowTable flows
    FragmentTable fragments
    Toeplitz toeplitz

# header: the steering segment, with room for flow_capacity entries. -1 if the capacity is no power of two.
cdef int steer_attach(
    Steering* steering, SteeringHeader* header, FlowEntry* entries, uint32_t flow_capacity, BoardPage* page
) noexcept nogil
# Look at the quarantine again: the supervisor has changed the steering segment.
cdef void steer_follow(Steering* steering) noexcept nogil
cdef void steer_clock(Steering* steering, uint64_t now) noexcept nogil
# A packet from the wire: the replica that gets it, STEER_ALL or STEER_DROP. Learns the flow of a SYN.
cdef int steer_arrival(Steering* steering, const Packet* packet) noexcept nogil
# A packet of a replica that leaves: learns and confirms flows.
cdef void steer_departure(Steering* steering, const Packet* packet, uint32_t replica) noexcept nogil
# What a replica says about a flow. 0, or -1 when the key is no key, or the flow is another replica's.
cdef int steer_add(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil
cdef int steer_fade(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil
cdef int steer_delete(Steering* steering, const FlowKey* key, uint32_t replica) noexcept nogil
# The slot that the hash and the indirection table name; MAX_REPLICAS or more when none accepts.
cdef uint32_t steer_home(Steering* steering, const FlowKey* key, bint ports) noexcept nogil
# Whether packets go to a slot now. Those of a recovering replica wait in its ring.
cdef bint slot_open(Steering* steering, uint32_t replica) noexcept nogil
