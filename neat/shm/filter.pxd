"""The packet filter's two segments (docs/contracts/filter.md). One pair for each stack.

**filter**: the rules, written by the supervisor, read by every replica. There are two sets; `generation` says
which of them counts (its lowest bit), and is stored last. Who writes the other one voids its own `generation`
first, so a reader that was overtaken finds out when it has copied.

**track**: what replicas remember and count. Each slot has an area of its own, and so has each IP part of a
multi-component replica, behind those; it is written by its replica or part alone, and read by the others, as
an answer to a datagram may come to another replica than the one that has sent it. The rates are common to
all: a word for each rule, changed by compare-and-swap.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    FILTER_MAGIC = 0x544C4946
    FILTER_VERSION = 1
    FILTER_HEADER = 4096            # where the first set begins
    FILTER_RULES = 512
    FILTER_RANGES = 4096
    FILTER_TEXT = 1 << 18           # bytes of what the supervisor keeps with a set
    MATCHES = 6
    LOG_ENTRIES = 64                # power of two
    TRACK_FLOWS = 4096              # power of two
    TRACK_WINDOW = 8

cpdef enum FilterChain:
    CHAIN_INPUT = 0
    CHAIN_OUTPUT = 1

cpdef enum FilterVerdict:
    VERDICT_NONE = 0                # the next rule
    VERDICT_ACCEPT = 1
    VERDICT_DROP = 2
    VERDICT_REJECT = 3              # by an ICMP "destination unreachable" of reject_code
    VERDICT_RESET = 4               # by a RST

cpdef enum FilterState:             # of a packet's connection, a bit each
    STATE_NEW = 1
    STATE_ESTABLISHED = 2
    STATE_RELATED = 4
    STATE_INVALID = 8

cpdef enum FilterInterface:
    INTERFACE_ANY = 0
    INTERFACE_LO = 1                # from and to the stack's own address
    INTERFACE_TAP = 2

cpdef enum FilterFlag:
    FLAG_LOG = 1
    FLAG_LIMIT = 2
    FLAG_OVER = 4                   # matches what is over the limit

cpdef enum FilterMatchKind:         # in the order in which they are looked at
    MATCH_PROTOCOL = 0
    MATCH_SOURCE = 1
    MATCH_DESTINATION = 2
    MATCH_SPORT = 3
    MATCH_DPORT = 4
    MATCH_ICMP_TYPE = 5

cdef struct FilterRange:            # host order; both ends belong to it
    uint32_t low, high

cdef struct FilterMatch:            # ranges[first ...]; count 0: anything
    uint16_t first, count

cdef struct FilterRule:             # 64 bytes
    FilterMatch matches[MATCHES]
    uint8_t asked, negated          # a bit a match: there is one; it is negated
    uint8_t verdict                 # a FilterVerdict
    uint8_t states                  # FilterState bits; 0: any
    uint8_t interface
    uint8_t flags
    uint8_t reject_code
    uint16_t index                  # of its counters and its rate
    uint64_t interval               # ns between two packets
    uint64_t burst                  # ns of packets at once, beyond the first
    uint32_t handle
    uint8_t _reserved[8]

cdef struct FilterSet:
    uint64_t generation             # 0 while it is being written
    uint32_t inputs, outputs        # rules: those of the input chain first
    uint32_t ranges
    uint32_t text                   # bytes of it
    uint8_t policies[2]             # a FilterVerdict for each FilterChain
    uint8_t _reserved[38]
    FilterRule rules[FILTER_RULES]
    FilterRange range_pool[FILTER_RANGES]
    uint8_t text_bytes[FILTER_TEXT]

cdef struct FilterHeader:
    uint32_t magic
    uint32_t format
    uint64_t generation             # of the set that counts: sets[generation & 1]; 0: none yet

cdef struct FilterCount:
    uint64_t packets, bytes

cdef struct FilterLogEntry:         # 40 bytes
    uint64_t at                     # ns on CLOCK_MONOTONIC
    uint32_t handle
    uint32_t source, destination    # host order
    uint32_t length                 # of the IP packet
    uint16_t sport, dport
    uint8_t protocol, chain, interface, icmp_type
    uint8_t _reserved[8]

cdef enum:
    TRACK_USED = 1
    TRACK_REPLIED = 2               # datagrams have gone both ways
    TRACK_INBOUND = 4               # the first came from outside

cdef struct TrackFlow:              # 32 bytes: a flow of UDP
    uint32_t state                  # TRACK_ bits, stored last
    uint32_t remote                 # as on the wire
    uint16_t remote_port, local_port
    uint32_t _reserved
    uint64_t seen                   # ns on CLOCK_MONOTONIC
    uint64_t _reserved2

cdef struct TrackArea:              # whole pages
    FilterCount counts[FILTER_RULES]
    uint64_t logged                 # entries that were ever written
    uint8_t _reserved[56]
    FilterLogEntry log[LOG_ENTRIES]
    uint8_t _reserved2[4096 - 64 - LOG_ENTRIES * 40]
    TrackFlow flows[TRACK_FLOWS]

cdef struct TrackHeader:            # one page
    # When the next packet is due if packets come at the rate, at the latest (the theoretical arrival time of
    # the generic cell rate algorithm); ns on CLOCK_MONOTONIC.
    uint64_t due[FILTER_RULES]

# Both segments as the replica that has an area sees them: it can write that and the rates, and read the rest.
# They are mapped while the object lives.
cdef class FilterView:
    cdef FilterHeader* header
    cdef TrackHeader* rates
    cdef TrackArea* own
    cdef TrackArea* areas           # of everybody
    cdef readonly uint32_t area, count
    cdef object segments
