"""The neighbour cache: who on the link has which MAC address (RFC 1122 §2.3.2). The table is in the state segment.

An entry is made only when something is to be sent to it, never because of what others send; so a flood of forged ARP can
neither grow the table nor push anybody out of it.
"""
cimport cython
from libc.errno cimport EAGAIN, EHOSTUNREACH
from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport NEIGHBOUR_HEADS, NO_NEIGHBOUR, NeighbourTimer, load_address
from neat.stack.state cimport STATE_NEIGHBOURS, NeighbourSlot
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FAMILY_IPV4

cdef enum NeighbourState:
    NEIGHBOUR_FREE = 0
    NEIGHBOUR_INCOMPLETE = 1        # asked, not answered yet
    NEIGHBOUR_REACHABLE = 2
    NEIGHBOUR_PROBE = 3             # used after a long silence: asked again, in use meanwhile
    NEIGHBOUR_FAILED = 4            # gave up: unreachable until forgotten

cdef enum:
    REACHABLE_NS = 60_000_000_000   # a confirmation is good for so long
    RETRY_NS = 1_000_000_000
    FAILED_NS = 1_000_000_000
    TRIES = 3

# At the engine's birth: index what a predecessor left in the table, announce ourselves once (RFC 5227 §2.3).
@cython.locals(slot="NeighbourSlot*", i=int32_t)
cdef void neighbour_create(Stack* stack) noexcept nogil
# The MAC address of a host on the link. 0; -EAGAIN: asked for, neighbour_ready tells; -EHOSTUNREACH.
@cython.locals(slot="NeighbourSlot*", timer="NeighbourTimer*", i=int32_t)
cdef int neighbour_resolve(Stack* stack, uint32_t address, uint8_t* mac) noexcept nogil
# Like neighbour_resolve, but asks nobody and makes no entry.
@cython.locals(slot="NeighbourSlot*", i=int32_t)
cdef bint neighbour_known(Stack* stack, uint32_t address, uint8_t* mac) noexcept nogil
# `address` says that it is at `mac`: changes an entry that is there.
@cython.locals(slot="NeighbourSlot*", i=int32_t, waited=bint)
cdef void neighbour_learn(Stack* stack, uint32_t address, const uint8_t* mac) noexcept nogil
# A packet from there: whoever talks to us is there. Only looks at the neighbour used last, so it costs nothing.
@cython.locals(slot="NeighbourSlot*")
cdef void neighbour_confirm(Stack* stack, uint32_t address, const uint8_t* mac) noexcept nogil
# The next request to send, as a record; 0: none.
@cython.locals(slot="NeighbourSlot*", timer="NeighbourTimer*", i=int32_t, known=bint)
cdef uint32_t neighbour_poll(Stack* stack, uint8_t* buffer) noexcept nogil
@cython.locals(timer="NeighbourTimer*", i=int32_t, state=uint32_t)
cdef void neighbour_expire(Stack* stack) noexcept nogil
cdef uint64_t neighbour_next_deadline(Stack* stack) noexcept nogil

@cython.locals(i=int32_t)
cdef int32_t find(Stack* stack, uint32_t address) noexcept nogil
@cython.locals(slot="NeighbourSlot*", i=int32_t)
cdef int32_t create(Stack* stack, uint32_t address) noexcept nogil
@cython.locals(i=int32_t, best=int32_t, oldest=uint64_t)
cdef int32_t vacate(Stack* stack) noexcept nogil
@cython.locals(head=uint32_t)
cdef void link(Stack* stack, int32_t i) noexcept nogil
@cython.locals(at="int16_t*")
cdef void forget(Stack* stack, int32_t i) noexcept nogil
@cython.locals(timer="NeighbourTimer*")
cdef void ask(Stack* stack, int32_t i) noexcept nogil
@cython.locals(timer="NeighbourTimer*")
cdef void settle(Stack* stack, int32_t i, uint32_t state, uint64_t due) noexcept nogil

# The chain for an address: multiplication by an odd constant mixes the host part into the high bits.
cdef inline uint32_t chain_of(uint32_t address) noexcept nogil:
    return (address * <uint32_t>0x9E3779B1) >> 24
