"""Segment state k: what survives the process (ARCHITECTURE.md, "The engine"). Written by the replica only;
read by its successor.

| offset (see StateHeader)  | what                                                      |
|---------------------------|-----------------------------------------------------------|
| 0                         | StateHeader, 4096 bytes                                   |
| connections               | ConnSlot [max_connections]                                |
| listeners                 | ListenerSlot [max_listeners]                              |
| udp                       | UdpSlot [max_udp]                                         |
| neighbours                | NeighbourSlot [STATE_NEIGHBOURS]                          |
| waits                     | WaitSlot [STATE_WAITS * max_connections]                  |

What the replica process keeps beside it begins at stack_state_bytes().

The stream offsets are the sequence numbers: rcv_nxt = irs + 1 + rx_tail (+ 1 after the peer's FIN), snd_una =
iss + 1 + tx_head. Storing the one word is the commit: bytes first, then the offset (release), then the ACK. A
slot is in use when its `state` is not zero; `state` is written last at birth and first at death, so every
prefix of the writes is valid; docs/contracts/state.md has the other orders, and tcp/recover.pyx what a
successor makes of each prefix."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from neat.stack.config cimport StackConfig
from neat.wire.flow cimport FlowKey

cdef enum:
    STATE_MAGIC = 0x54534E4E
    STATE_VERSION = 2
    STATE_HEADER = 4096
    STATE_NEIGHBOURS = 256
    STATE_WAITS = 4                 # so many WaitSlots for each connection
    OOO_MAX = 16                    # intervals of out-of-order data kept for a connection
    SHARE_WORDS = 448               # of bits of ports, from the word of the lowest one on

cdef struct Suspect:                # 128 bytes: what is being processed right now (kind 0: nothing)
    uint32_t kind                   # a SuspectKind, written last
    uint32_t length
    uint64_t position               # frame: of its record in the receive ring; command: app << 32 | sock
    uint64_t at                     # `now`
    uint32_t conn                   # slot, or UINT32_MAX if not known yet
    uint32_t strikes
    uint8_t _reserved[96]

cdef enum SuspectKind:
    SUSPECT_NONE = 0
    SUSPECT_FRAME = 1
    SUSPECT_COMMAND = 2
    SUSPECT_TIMER = 3
    SUSPECT_TRANSMIT = 4

cdef struct PortShare:              # 3600 bytes: the local ports of connections that we open: tcp/ports.pxd
    # Those with p % count == rank, as rank << 32 | count, of both; count 0: none.
    uint64_t mine, narrowed
    uint64_t held[SHARE_WORDS]      # a bit a port: another replica has connections from there

cdef struct StateHeader:            # 4096 bytes
    uint32_t magic
    uint32_t version
    uint64_t incarnation            # of the state; the supervisor writes it
    uint64_t bytes                  # of the engine's part of the segment
    uint32_t max_connections, max_listeners, max_udp, max_neighbours
    uint64_t connections, listeners, udp, neighbours    # offsets
    uint64_t frames                 # position in the receive ring behind the last record that is done with
    uint64_t waits                  # offset
    uint32_t max_waits
    uint32_t slots_used             # ConnSlots from here on were never used; WaitSlots likewise
    uint32_t waits_used
    uint32_t _pad
    uint64_t redone                 # position of the last frame that somebody died in, + 1; 0: none
    uint8_t _reserved0[144]
    Suspect suspect                 # at 256
    PortShare ports
    uint8_t _reserved1[112]

cdef enum SlotFlag:
    SLOT_PASSIVE = 1
    SLOT_ACCEPTED = 2               # accept() has taken it
    SLOT_TIMESTAMPS = 4             # negotiated (RFC 7323 §2)
    SLOT_WSCALE = 8
    SLOT_SACK_OK = 16               # negotiated (RFC 2018 §2)
    SLOT_FIN_QUEUED = 32            # no more data from us: FIN is at tx_fin
    SLOT_FIN_SEEN = 64              # the peer's FIN is in the stream: rcv_nxt counts it
    SLOT_FIN_ACKED = 128            # our FIN is acknowledged: snd_una counts it
    SLOT_SYN_ACKED = 256            # our SYN is acknowledged: snd_una counts it
    SLOT_ORPHAN = 512               # the last descriptor is closed
    SLOT_HAS_SOCK = 1024
    SLOT_FIN_EARLY = 2048           # the peer's FIN came out of order: rx_fin says where it is
    SLOT_DEFERRED = 4096            # TCP_DEFER_ACCEPT: the handshake is done, text is awaited
    SLOT_ABORT = 8192               # with SLOT_ORPHAN: a reset leaves after the text that may leave now

cdef struct ConnSlot:               # 320 bytes, 64-byte aligned
    # line 0: identity
    FlowKey key
    uint32_t state                  # a TcpState; 0 is free
    uint32_t flags                  # SlotFlag
    uint32_t iss, irs
    uint32_t strikes
    uint32_t _pad0
    # line 1: what moves with every segment
    uint64_t rx_tail                # bytes ever received in order; the true one
    uint64_t tx_head                # bytes ever acknowledged; the true one
    uint32_t snd_wnd                # bytes, scaled
    uint32_t snd_wl1, snd_wl2
    uint32_t rcv_adv                # right edge of the window that we advertised: it never moves back
    uint32_t ts_recent
    uint32_t snd_max                # highest sequence number ever sent, + 1; stored before the segment leaves
    uint64_t ts_recent_at           # ns
    uint32_t srtt_us, rttvar_us
    uint8_t _pad2[8]
    # line 2: fixed at birth or changed rarely
    uint32_t app, sock, generation
    uint32_t listener               # slot of the listener that made it; UINT32_MAX for active opens
    uint64_t tx_fin                 # stream offset of our FIN, with SLOT_FIN_QUEUED
    uint64_t rx_fin                 # stream offset of the peer's FIN, with SLOT_FIN_SEEN or SLOT_FIN_EARLY
    uint64_t opened_at
    uint32_t ts_offset              # our timestamps are ms + this
    uint16_t snd_mss                # largest segment that we send, options excluded (RFC 9293 §3.7.1)
    uint16_t rcv_mss                # what we announced
    uint8_t snd_wscale, rcv_wscale
    uint16_t error                  # errno of what ended it; stored before the state that says so
    uint8_t _pad3[12]
    # lines 3 and 4: text out of order, a set of intervals: start | end << 32, start <= x < end; 0: free
    uint64_t ooo[OOO_MAX]

cdef struct ListenerSlot:           # 64 bytes
    uint32_t used
    uint32_t app, sock, generation
    uint32_t backlog
    uint32_t flags                  # NEAT_BIND_*
    uint16_t port
    uint8_t family                  # 0 or FAMILY_IPV4
    uint8_t _pad
    uint8_t address[16]             # zero: any
    uint32_t defer_s                # TCP_DEFER_ACCEPT, 0: off
    uint8_t _reserved[16]

cdef struct UdpSlot:                # 128 bytes
    uint32_t used
    uint32_t app, sock, generation
    uint32_t flags                  # NEAT_BIND_*
    uint16_t port
    uint8_t family
    uint8_t _pad
    uint8_t address[16]             # zero: any
    uint64_t rx_tail, tx_head       # the true ones
    # the frame (its position, + 1) whose datagram makes rx_tail come to rx_next
    uint64_t rx_frame, rx_next
    uint8_t _reserved[56]

# A connection in TIME_WAIT, or in FIN_WAIT_2 after its descriptor was closed: enough to answer correctly.
cdef struct WaitSlot:               # 128 bytes
    FlowKey key
    uint32_t state                  # TIME_WAIT or FIN_WAIT_2; 0 is free
    uint32_t snd_nxt, rcv_nxt, rcv_wnd
    uint32_t ts_recent, ts_offset
    uint64_t ts_recent_at
    uint64_t deadline
    uint64_t answer_after           # limit of ACKs
    uint8_t timestamps
    uint8_t rcv_wscale
    uint8_t _reserved[38]

cdef struct NeighbourSlot:          # 64 bytes
    uint32_t state                  # 0 free; the rest is neighbour's business
    uint8_t family
    uint8_t _pad[3]
    uint8_t address[16]
    uint8_t mac[6]
    uint8_t _pad1[2]
    uint64_t confirmed_at           # ns
    uint8_t _reserved[24]

cdef uint64_t state_bytes(const StackConfig* config) noexcept nogil
# Lay out or check the header of a segment. 0; 1 when it was laid out before; -EINVAL when it is too small or
# belongs to another version or geometry.
cdef int state_attach(StateHeader* header, uint64_t size, const StackConfig* config) noexcept nogil
