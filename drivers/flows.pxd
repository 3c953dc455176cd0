"""The flow table: which replica has a 5-tuple (ARCHITECTURE.md, "The driver"). Lives in the steering segment,
so that the driver's successor has it.

A key lies in one of the FLOW_WINDOW entries that start where its hash says, so a lookup or an insertion looks
at no more than those. An entry whose slot has another epoch is void: the connection is lost, and nobody
finds it. It lies there until its peer knows (drivers/lost.pyx) or its room is needed.

The program in the kernel (drivers/program.py) writes the same table at the same time, on any CPU:
1. Who wants to write an entry claims it: its state from what was seen to FLOW_TAKEN (the program: FLOW_BUSY),
   by compare-and-swap. Then he writes the rest, and the state last. Who fails takes another, or none.
2. Every other change of a state is a compare-and-swap too, from what was seen.
3. Lookups find entries that are FADING, NEW or LIVE, and look again at the state when the rest is read.
4. So whoever is killed leaves whole entries, or one that is TAKEN, which the driver's successor frees.
5. The program's clock lags by some milliseconds, so `seen` may lie ahead: times are compared signed."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from neat.shm.board cimport BoardPage
from neat.shm.steering cimport MAX_REPLICAS, FlowEntry, SteeringHeader
from neat.wire.flow cimport FlowKey

cdef enum:
    FLOW_WINDOW = 16
    FLOW_SECRETS = 5
    FLOW_SEEN_STEP = 1_000_000_000      # ns; `seen` is not written more often
    # ns; a live flow that was not seen for so long makes room for a new one
    FLOW_IDLE = 900_000_000_000
    LOST_PASSES = 4                     # how often the peer of a void flow is told, until it says something

cdef struct FlowTable:                  # private
    SteeringHeader* header
    FlowEntry* entries
    uint32_t mask
    uint64_t secret[FLOW_SECRETS]       # of the hash
    uint64_t now                        # CLOCK_MONOTONIC ns, set by the caller
    BoardPage* page                     # the driver's own: counters
    int64_t flows[MAX_REPLICAS]         # entries of each slot, less what the program has counted
    # passes over the table, for the peers of void entries
    uint32_t passes                     # left, with the one that goes on; 0: there is nobody to tell
    uint32_t at                         # the next entry that it looks at
    uint64_t due                        # ns; when it begins

# capacity: entries, a power of two that the caller knows from its settings, not from the segment. -1 if it is
# not.
# Caller must run flows_check before anything else.
cdef int flows_attach(
    FlowTable* table, SteeringHeader* header, FlowEntry* entries, uint32_t capacity, BoardPage* page
) noexcept nogil
# Where the window of a key begins, before it is masked.
cdef uint32_t flow_home(FlowTable* table, const FlowKey* key) noexcept nogil
# Look at all entries: free those that no driver can have written (counted), count the others for each slot.
# Those that are void are told by passes that begin now, or freed where no peer can be waiting.
# Caller runs it again whenever the epoch of a slot has changed.
cdef void flows_check(FlowTable* table) noexcept nogil
# Take what the steering program has counted onto the driver's page.
cdef void flows_take_counts(FlowTable* table) noexcept nogil
# Entries of a slot, the program's too; those that are void are counted until flows_check has run.
cdef uint64_t flows_of(FlowTable* table, uint32_t replica) noexcept nogil
# The entry of a key, NULL when there is none.
cdef FlowEntry* flow_find(FlowTable* table, const FlowKey* key) noexcept nogil
# The peer of a flow that flow_find did not find has said something: a void entry of this key is freed.
cdef void flow_heard(FlowTable* table, const FlowKey* key) noexcept nogil
# A new entry for a key that flow_find did not find. When its window is full, the oldest FADING or NEW flow
# makes room, then the oldest idle one: a replica's FLOW_DELETE may have been lost. NULL (counted) when there
# is nothing but live flows.
cdef FlowEntry* flow_learn(
    FlowTable* table, const FlowKey* key, uint32_t replica, uint32_t state
) noexcept nogil
cdef void flow_forget(FlowTable* table, FlowEntry* entry) noexcept nogil
# Another state, unless it has changed meanwhile.
cdef bint flow_turn(FlowEntry* entry, uint32_t before, uint32_t after) noexcept nogil
# Likewise from whatever it was, if it is an entry still.
cdef bint flow_become(FlowEntry* entry, uint32_t after) noexcept nogil
cdef bint flow_void(FlowTable* table, const FlowEntry* entry) noexcept nogil
cdef bint key_sound(const FlowKey* key) noexcept nogil
