"""Private memory of an engine's packet filter, embedded in Stack as `filter`."""

from libc.stdint cimport uint32_t, uint64_t
from neat.shm.filter cimport FilterHeader, FilterSet, TrackArea, TrackHeader

cdef struct FilterPrivate:
    const FilterHeader* header      # NULL: this engine has no filter
    const FilterSet* sets           # the two behind it
    uint64_t generation             # that was looked at last
    bint active                     # there are rules, or a policy that drops
    bint tracks                     # some rule asks for a connection's state
    FilterSet* rules                # a copy of our own, checked
    FilterSet* spare                # for the next
    TrackHeader* rates              # common to all replicas
    TrackArea* own
    const TrackArea* areas          # of everybody
    uint32_t area, area_count       # which of them is ours
