"""UDP (RFC 768, RFC 1122 §4.1): binds, and datagrams into the receive rings of sockets; udp_output takes them out of transmit rings.

A socket's rings hold records: struct neat_datagram, the bytes, padding to 8. The true counters are in UdpSlot; what the
application writes is checked before use, and nonsense ends that socket.
"""
cimport cython
from libc.errno cimport EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED, EINVAL, EIO, ENOBUFS, ENOENT, ENOMEM, ENOPROTOOPT
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from neat.abi.channel cimport (
    NEAT_OPT_PEER, NEAT_REQ_NOTIFY, NEAT_SOCK_UDP, neat_addr, neat_datagram, neat_sock,
)
from neat.abi.control cimport NEAT_BIND_REUSEADDR, NEAT_BIND_REUSEPORT
from neat.shm.atomic cimport fetch_and32, load32, load64, store32, store64
from neat.stack.channels cimport channel_of, sock_birth, sock_death, sock_rx_ring
from neat.stack.config cimport EV_READABLE, EV_WRITABLE
from neat.stack.counters cimport Counter
from neat.stack.events cimport EventNode, event_raise
from neat.stack.ip_private cimport load_address
from neat.stack.packet cimport Packet
from neat.stack.state cimport UdpSlot
from neat.stack.types cimport Channel, Stack, count
from neat.wire.checksum cimport checksum_add, checksum_fold, pseudo_header_v4
from neat.wire.flow cimport FAMILY_IPV4, FlowKey, flow_hash
from neat.wire.headers cimport PROTO_UDP, UdpHeader, ntohs

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

@cython.locals(table="UdpTable*", i=uint32_t, head=int32_t)
cdef int udp_create(Stack* stack) noexcept nogil
@cython.locals(table="UdpTable*")
cdef void udp_destroy(Stack* stack) noexcept nogil
# 0; -EINVAL, -ENOENT (no such application), -EADDRINUSE, -EADDRNOTAVAIL, -ENOBUFS.
@cython.locals(table="UdpTable*", channel="Channel*", slot="UdpSlot*", bind="UdpBind*", i=int32_t, index=int32_t)
cdef int udp_bind(Stack* stack, uint32_t app, uint32_t sock, const neat_addr* local, uint32_t flags) noexcept nogil
@cython.locals(channel="Channel*", i=uint32_t)
cdef int udp_unbind(Stack* stack, uint32_t app, uint32_t sock) noexcept nogil
# Unbind all of a channel that goes.
@cython.locals(i=uint32_t)
cdef void udp_detach(Stack* stack, Channel* channel) noexcept nogil
# The dirty bit of a bound socket was set.
@cython.locals(table="UdpTable*", bind="UdpBind*", slot="UdpSlot*", i=int32_t, tail=uint64_t)
cdef void udp_command(Stack* stack, Channel* channel, uint32_t sock, neat_sock* shared) noexcept nogil
@cython.locals(header="UdpHeader*", size=uint32_t, total=uint64_t, i=int32_t)
cdef void udp_input(Stack* stack, Packet* packet) noexcept nogil
# An ICMP error quotes a datagram of ours.
@cython.locals(sock="neat_sock*", i=int32_t, error=int32_t)
cdef void udp_icmp_error(Stack* stack, const FlowKey* key, uint8_t type, uint8_t code) noexcept nogil

@cython.locals(i=int32_t, mine=uint32_t, theirs=uint32_t)
cdef bint conflicts(Stack* stack, const neat_addr* local, uint32_t flags) noexcept nogil
@cython.locals(table="UdpTable*", at="int16_t*", k=int32_t)
cdef void release(Stack* stack, uint32_t i) noexcept nogil
@cython.locals(table="UdpTable*", at="int16_t*", previous=int16_t)
cdef void leave_pending(Stack* stack, uint32_t i) noexcept nogil
@cython.locals(table="UdpTable*")
cdef void join_pending(Stack* stack, uint32_t i) noexcept nogil
@cython.locals(at=int32_t, turn=int32_t, slot="UdpSlot*", sock="neat_sock*")
cdef bint shares(Stack* stack, int32_t i, int32_t j) noexcept nogil
@cython.locals(key=FlowKey)
cdef uint32_t rank(Stack* stack, int32_t i, const uint8_t* remote, uint16_t remote_port, uint16_t port) noexcept nogil
# The bind that a datagram is for, by exact address and peer before wildcard; NO_BIND. *stranger: one has another peer.
@cython.locals(table="UdpTable*", slot="UdpSlot*", i=int32_t, best=int32_t, score=int32_t, highest=int32_t, address=uint32_t)
cdef int32_t match(
    Stack* stack, const uint8_t* local, uint16_t port, const uint8_t* remote, uint16_t remote_port, bint* stranger
) noexcept nogil
@cython.locals(peer=neat_addr)
cdef bint is_peer(neat_sock* sock, const uint8_t* address, uint16_t port) noexcept nogil
@cython.locals(bind="UdpBind*", slot="UdpSlot*", sock="neat_sock*", head=neat_datagram, used=uint64_t, need=uint64_t, limit=uint64_t,
               ring="uint8_t*")
cdef void deliver(Stack* stack, int32_t i, Packet* packet, uint16_t port, uint32_t size) noexcept nogil
@cython.locals(bind="UdpBind*", sock="neat_sock*")
cdef void report(Stack* stack, int32_t i, int32_t error) noexcept nogil
cdef void break_off(Stack* stack, int32_t i) noexcept nogil

cdef inline uint64_t padded(uint64_t size) noexcept nogil:
    return (size + 7) & ~<uint64_t>7

# Copy between a ring of `size` bytes (a power of two) and flat memory; the ring's part may wrap. length <= size.
cdef inline void ring_write(uint8_t* ring, uint32_t size, uint64_t offset, const void* source, uint32_t length) noexcept nogil:
    cdef uint32_t start = <uint32_t>(offset & (size - 1))
    cdef uint32_t first = min(length, size - start)
    memcpy(ring + start, source, first)
    memcpy(ring, <const uint8_t*>source + first, length - first)

cdef inline void ring_read(uint8_t* ring, uint32_t size, uint64_t offset, void* target, uint32_t length) noexcept nogil:
    cdef uint32_t start = <uint32_t>(offset & (size - 1))
    cdef uint32_t first = min(length, size - start)
    memcpy(target, ring + start, first)
    memcpy(<uint8_t*>target + first, ring, length - first)
