"""Private memory of the IP side of an engine: owned by neighbour, ipv4, icmp and udp, embedded in Stack as
`ip` and `udp`.

IPv4 addresses in a uint32_t are in network byte order, as load_address reads them.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.state cimport STATE_NEIGHBOURS

cdef enum:
    NEIGHBOUR_HEADS = 256
    NO_NEIGHBOUR = -1
    HELD_SLOTS = 64

cdef struct NeighbourTimer:         # the volatile half of a NeighbourSlot
    uint64_t due                    # when to ask again, give up or forget; 0: never
    uint64_t used                   # when something was last sent to it
    uint32_t tries
    int16_t next                    # in its hash chain
    bint send                       # a request waits to be sent

cdef enum HeldState:
    HELD_FREE = 0
    HELD_WAITING = 1
    HELD_READY = 2                  # its neighbour has answered
    HELD_FAILED = 3                 # its component is to hear that it could not be sent

cdef struct Held:                   # a packet of a transport component whose neighbour is not known yet
    uint32_t state                  # HeldState
    uint32_t hop
    uint32_t length
    uint8_t code                    # HELD_FAILED: of the ICMP error
    uint8_t protocol                # of the component
    uint8_t* record                 # whole, but for the Ethernet header; `held_room` bytes

cdef struct IpPrivate:
    uint32_t address, mask, gateway
    uint16_t identification
    bint own_frame                  # the frame in hand is one that this stack has sent itself
    # the packet in hand: a reply to its source may go back where the frame came from
    uint32_t hand_source            # 0: none
    uint8_t hand_mac[6]
    # neighbour
    bint announce                   # an announcement waits to be sent
    uint64_t defended_at            # when one was last sent because of a conflict
    uint64_t neighbour_due          # no timer is due before
    uint32_t sends                  # how many requests wait to be sent
    int16_t heads[NEIGHBOUR_HEADS]
    int16_t recent                  # the neighbour that was used last
    NeighbourTimer timers[STATE_NEIGHBOURS]
    # held: only of an IP component
    uint8_t handed                  # of the component that the record in hand goes up to; 0: none
    Held* held                      # [HELD_SLOTS]
    uint8_t* held_memory
    uint32_t held_room              # of a packet: one of the MTU. A longer one is not kept, but sent again
    uint32_t ready, failed          # how many of them are
    # icmp: the bucket that limits errors
    uint32_t error_tokens
    uint64_t error_tokens_at

cdef struct UdpPrivate:
    void* memory                    # a UdpTable (udp.pxd)

cdef inline uint32_t load_address(const uint8_t* address) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, address, 4)
    return value
