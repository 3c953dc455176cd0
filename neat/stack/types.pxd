"""The engine's insides: Stack, and what its parts share. Private memory of one process, except what pointers
lead to.

Parts reach each other through packet.pxd's port; a part's own fields are in its own struct (TcpPrivate,
IpPrivate, UdpPrivate)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from neat.abi.channel cimport neat_sock
from neat.stack.config cimport Span, StackConfig
from neat.stack.events cimport EventQueue
from neat.stack.filter_private cimport FilterPrivate
from neat.stack.ip_private cimport IpPrivate, UdpPrivate
from neat.stack.state cimport ConnSlot, ListenerSlot, NeighbourSlot, StateHeader, UdpSlot
from neat.stack.tcp.types cimport TcpPrivate
from neat.wire.flow cimport FlowKey

cdef enum:
    REPLY_SLOTS = 128               # power of two
    REPLY_BYTES = 2048
    CHANNELS = 1024                 # applications at one time, power of two
    COUNTERS_MAX = 384
    OWNER_NONE = -1

# A frame that belongs to no connection (RST to a stranger, ARP, ICMP): a whole record, vnet header first.
cdef struct Reply:
    uint32_t length
    uint8_t record[REPLY_BYTES - 4]

cdef struct ReplyQueue:             # tail - head <= REPLY_SLOTS
    Reply* slots
    uint32_t head, tail

# FLOW_ADD, FLOW_FADES and FLOW_DELETE records on their way to the driver. capacity: a power of two.
cdef struct FlowRecord:
    FlowKey key
    uint32_t type                   # a RecordType

cdef struct FlowQueue:
    FlowRecord* records
    uint32_t head, tail, capacity

# Who uses a socket index of a channel. The replica's own memory: nothing here is read back from the segment.
cdef struct SockOwner:
    int32_t owner                   # slot index of the connection, listener or UDP bind; OWNER_NONE
    uint32_t generation             # odd while in use
    uint8_t kind                    # neat_sock_kind
    uint32_t next_free              # link of the free list; UINT32_MAX ends it

cdef struct Channel:                # an application's segment as this replica maps it
    uint32_t app
    bint detached                   # the memory is gone
    uint8_t* memory
    neat_sock* socks
    uint64_t* dirty
    uint64_t* summary
    bint resumed                    # a predecessor may have used it
    uint32_t nsock, rx_size, tx_size
    uint32_t users                  # sockets in use
    uint32_t first_free             # of the indexes from NEAT_SHARED_SOCKS on
    SockOwner* owners               # [nsock]

cdef struct Stack:
    StackConfig config
    uint64_t now                    # of the call in progress
    bint resumed                    # the state segment was a predecessor's
    bint unrecovered                # and nobody has looked through it yet
    uint64_t* counters              # indexed by Counter
    Span* gathered                  # [2]: text of the frame that leaves, left where it lies; NULL: copied
    StateHeader* state
    ConnSlot* slots
    ListenerSlot* listeners
    UdpSlot* udp_slots
    NeighbourSlot* neighbours
    Channel* channels[CHANNELS]
    ReplyQueue replies
    EventQueue events
    FlowQueue flows
    TcpPrivate tcp
    IpPrivate ip
    UdpPrivate udp
    FilterPrivate filter
    uint64_t own_counters[COUNTERS_MAX]

cdef inline void count(Stack* stack, uint32_t counter) noexcept nogil:
    stack.counters[counter] += 1

cdef inline void count_add(Stack* stack, uint32_t counter, int64_t n) noexcept nogil:
    stack.counters[counter] += n
