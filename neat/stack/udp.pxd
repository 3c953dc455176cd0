"""UDP (RFC 768, RFC 1122 §4.1): binds, and datagrams into the receive rings of sockets; udp_output takes them
out of transmit rings.

A socket's rings hold records: struct neat_datagram, the bytes, padding to 8. The true counters are in
UdpSlot; what the application writes is checked before use, and nonsense ends that socket."""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.abi.channel cimport neat_addr, neat_sock
from neat.stack.events cimport EventNode
from neat.stack.packet cimport Packet
from neat.stack.types cimport Channel, Stack
from neat.wire.flow cimport FlowKey

cdef enum:
    UDP_HEADS = 256
    UDP_BYTES = 8
    DATAGRAM_HEAD = 32              # sizeof(neat_datagram)
    WAITING_SLOTS = 32              # datagrams that wait for a neighbour
    NO_BIND = -1

cdef struct UdpBind:                # the volatile half of a UdpSlot, same index
    Channel* channel
    EventNode node
    int16_t next                    # in the chain of its port
    int16_t next_pending
    bint pending                    # in the list of those with something to send
    bint broken                     # its application wrote nonsense
    uint64_t tx_until               # datagrams up to here were seen and fit the ring
    uint32_t errors, drops

cdef struct UdpWaiting:
    uint32_t length                 # of the UDP header and what follows; 0: free
    bint ready
    uint8_t destination[4]
    uint8_t tos, ttl
    int16_t bind                    # NO_BIND: closed since

cdef struct UdpTable:
    UdpBind* binds
    int16_t heads[UDP_HEADS]
    int16_t first_pending, last_pending
    UdpWaiting waiting[WAITING_SLOTS]
    uint32_t ready                  # how many of them may go now
    uint32_t room                   # bytes of each ...
    uint8_t* bytes                  # ... here
    uint8_t* record                 # one on its way to be put aside

cdef inline UdpTable* table_of(Stack* stack) noexcept nogil:
    return <UdpTable*>stack.udp.memory

cdef int udp_create(Stack* stack) noexcept nogil
cdef void udp_destroy(Stack* stack) noexcept nogil
# 0; -EINVAL, -ENOENT (no such application), -EADDRINUSE, -EADDRNOTAVAIL, -ENOBUFS.
cdef int udp_bind(
    Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags
) noexcept nogil
cdef int udp_unbind(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil
# The volatile half of a UdpSlot that is filled in.
cdef void udp_begin(Stack* stack, int32_t i, Channel* channel) noexcept nogil
# Unbind all of a channel that goes.
cdef void udp_detach(Stack* stack, Channel* channel) noexcept nogil
# The dirty bit of a bound socket was set.
cdef void udp_command(Stack* stack, Channel* channel, uint32_t sock, neat_sock* shared) noexcept nogil
cdef void udp_input(Stack* stack, Packet* packet) noexcept nogil
# An ICMP error quotes a datagram of ours.
cdef void udp_icmp_error(Stack* stack, const FlowKey* key, uint8_t type, uint8_t code) noexcept nogil
cdef void leave_pending(Stack* stack, uint32_t i) noexcept nogil
cdef void join_pending(Stack* stack, uint32_t i) noexcept nogil
cdef void report(Stack* stack, int32_t i, int32_t error) noexcept nogil
cdef void break_off(Stack* stack, int32_t i) noexcept nogil

cdef inline uint64_t padded(uint64_t size) noexcept nogil:
    return (size + 7) & ~<uint64_t>7

cdef inline void ring_read(
    uint8_t* ring, uint32_t size, uint64_t offset, void* target, uint32_t length
) noexcept nogil:
    cdef uint32_t start = <uint32_t>(offset & (size - 1))
    cdef uint32_t first = min(length, size - start)
    memcpy(target, ring + start, first)
    memcpy(<uint8_t*>target + first, ring, length - first)
