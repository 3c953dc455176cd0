"""Segment steering: who gets which packet (ARCHITECTURE.md, "The driver"). One for each stack.

Page 0 (SteeringHeader) is written by the supervisor only, but for `program`. The flow table behind it is
written by the driver and, where each replica has a queue of its own, by the steering program in the kernel
(drivers/program.py). The supervisor changes the indirection table by writing `indirection`, then
incrementing `version` (release).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from neat.wire.flow cimport FlowKey

cdef enum:
    STEERING_MAGIC = 0x52455453
    STEERING_VERSION = 2
    STEERING_HEADER = 4096
    INDIRECTION_ENTRIES = 128
    RSS_KEY_BYTES = 40
    MAX_REPLICAS = 16
    NO_REPLICA = 0xFF
    QUARANTINES = 16

cpdef enum SlotState:
    SLOT_ABSENT = 0
    SLOT_STARTING = 1               # process started, not announced: gets no packets
    SLOT_ACTIVE = 2
    # its replica died; its frames are held back or dropped, nobody answers for it
    SLOT_RECOVERING = 3
    SLOT_TERMINATING = 4            # keeps its flows, gets no new ones (lazy termination)

cdef struct ReplicaSlot:            # 16 bytes
    uint32_t state                  # a SlotState
    # bumped when the connections of the slot are gone (stateless recovery): older flows are void
    uint32_t epoch
    uint8_t _reserved[8]

cdef struct Quarantine:             # 32 bytes: a source whose packets killed
    uint64_t until                  # ns on CLOCK_MONOTONIC, written last; 0: none
    uint8_t family
    uint8_t protocol                # 0: whatever opens or has no flow, from any port
    uint16_t port                   # of the source; 0 where its protocol has none
    uint8_t _reserved[4]
    uint8_t address[16]

cdef struct ProgramCounters:        # 192 bytes: what the steering program has done, until the driver takes it
    uint64_t learnt
    uint64_t evicted
    uint64_t full
    uint64_t _reserved[5]
    int64_t flows[MAX_REPLICAS]     # entries that it has made for each slot, less those that made room

cdef struct SteeringHeader:
    uint32_t magic
    uint32_t format
    uint32_t version                # bumped after each change of indirection or slots
    uint32_t flow_capacity          # entries, power of two
    uint8_t rss_key[RSS_KEY_BYTES]
    uint8_t _pad[8]
    uint8_t indirection[INDIRECTION_ENTRIES]    # a replica slot each, NO_REPLICA when none accepts
    ReplicaSlot slots[MAX_REPLICAS]
    Quarantine quarantine[QUARANTINES]
    uint64_t quarantined            # ns on CLOCK_MONOTONIC: none is in force after that
    uint8_t _pad2[56]
    ProgramCounters program

cpdef enum FlowState:              # in the order in which they make room when a bucket is full
    FLOW_FREE = 0
    # in TIME-WAIT: if another replica gets what is still to come, it answers by a RST
    FLOW_FADING = 1
    FLOW_NEW = 2                    # learnt from a SYN
    FLOW_LIVE = 3                   # seen in both directions, or added by the replica; stays
    # Claimed, and nobody else's, while it is being written. Not an entry yet.
    FLOW_BUSY = 4                   # by the program in the kernel, which nobody can kill
    FLOW_TAKEN = 5                  # by the driver; its successor frees it

cdef struct FlowEntry:              # 64 bytes
    FlowKey key                     # 40 bytes
    # a FlowState: claimed by compare-and-swap before anything else is written, written last (release)
    uint32_t state
    uint32_t epoch                  # the slot's epoch when it was learnt
    uint64_t seen                   # CLOCK_MONOTONIC ns, coarse
    uint8_t replica
    uint8_t _reserved[7]
