"""Where the later fragments of a datagram go: after the first one, which has the ports. A small table,
private to the driver."""

from libc.stdint cimport uint32_t, uint64_t
from neat.wire.flow cimport FlowKey

cdef enum:
    FRAGMENT_SETS = 64
    FRAGMENT_WAYS = 4
    FRAGMENT_LIFE = 30_000_000_000      # ns; what Linux waits for the rest of a datagram

cdef struct FragmentEntry:
    FlowKey hosts                       # addresses and protocol; ports zero
    uint32_t id
    uint32_t replica
    uint64_t seen                       # ns; 0: free

cdef struct FragmentTable:
    uint32_t seed
    FragmentEntry entries[FRAGMENT_SETS][FRAGMENT_WAYS]

# key: of any fragment of the datagram; its ports do not matter. note: its first fragment went to `replica`;
# replaces the oldest of its set. find: that replica, -1 when it is not known (any more).
cdef void fragments_note(
    FragmentTable* table, const FlowKey* key, uint32_t id, uint32_t replica, uint64_t now
) noexcept nogil
cdef int fragments_find(FragmentTable* table, const FlowKey* key, uint32_t id, uint64_t now) noexcept nogil
