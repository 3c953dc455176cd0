"""UDP out: datagrams from the transmit rings of sockets to the wire. Every length that an application wrote is checked first."""
cimport cython
from libc.errno cimport EACCES, EAGAIN, EDESTADDRREQ, EHOSTUNREACH, EINVAL, EMSGSIZE
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.abi.channel cimport NEAT_OPT_BROADCAST, NEAT_OPT_PEER, neat_addr, neat_datagram, neat_sock
from neat.shm.atomic cimport load32, store64
from neat.stack.channels cimport sock_tx_ring
from neat.stack.config cimport EV_WRITABLE, OFFLOAD_CSUM
from neat.stack.counters cimport Counter
from neat.stack.events cimport event_raise
from neat.stack.ip_private cimport load_address
from neat.stack.ipv4 cimport IPV4_OFFSET
from neat.stack.state cimport UdpSlot
from neat.stack.types cimport Stack, count
from neat.stack.udp cimport (
    DATAGRAM_HEAD, NO_BIND, UDP_BYTES, WAITING_SLOTS, UdpBind, UdpTable, UdpWaiting, break_off, join_pending, leave_pending, padded, report,
    ring_read, table_of,
)
from neat.wire.checksum cimport checksum_add, checksum_fold, pseudo_header_v4
from neat.wire.flow cimport FAMILY_IPV4
from neat.wire.headers cimport PROTO_UDP, UdpHeader, htons
from neat.wire.vnet cimport VNET_BYTES, VNET_F_NEEDS_CSUM, VnetHeader

# The next datagram to send, as a record; 0: none.
@cython.locals(table="UdpTable*", length=uint32_t)
cdef uint32_t udp_poll(Stack* stack, uint8_t* buffer) noexcept nogil
@cython.locals(table="UdpTable*", bind="UdpBind*", sock="neat_sock*", length=uint32_t, place=int32_t)
cdef void udp_put_rest_aside(Stack* stack, uint32_t i) noexcept nogil
@cython.locals(table="UdpTable*", waiting="UdpWaiting*", i=int32_t)
cdef void udp_neighbour_ready(Stack* stack, const uint8_t* address, bint reachable) noexcept nogil

@cython.locals(bind="UdpBind*", slot="UdpSlot*", sock="neat_sock*", head=neat_datagram, left=uint64_t, need=uint64_t, length=int32_t)
cdef uint32_t send_one(Stack* stack, uint32_t i, uint8_t* buffer) noexcept nogil
@cython.locals(bind="UdpBind*", slot="UdpSlot*", peer=neat_addr, l4_length=uint32_t, error=int32_t)
cdef int32_t emit(Stack* stack, uint32_t i, neat_sock* sock, neat_datagram* head, uint8_t* buffer) noexcept nogil
@cython.locals(header="UdpHeader*", total=uint64_t)
cdef void write_header(
    Stack* stack, uint8_t* buffer, uint16_t port, const neat_addr* destination, uint32_t l4_length
) noexcept nogil
@cython.locals(vnet="VnetHeader*")
cdef uint32_t finish(Stack* stack, uint8_t* buffer, uint32_t l4_length) noexcept nogil
@cython.locals(table="UdpTable*", waiting="UdpWaiting*", k=int32_t)
cdef int32_t put_aside(Stack* stack, uint32_t i, neat_sock* sock, uint8_t* buffer, uint32_t l4_length) noexcept nogil
@cython.locals(table="UdpTable*", waiting="UdpWaiting*", i=int32_t, length=uint32_t, l4=int32_t)
cdef uint32_t poll_waiting(Stack* stack, uint8_t* buffer) noexcept nogil
cdef void give_up(Stack* stack, UdpWaiting* waiting) noexcept nogil

# Where the destination stands in a record that we send.
cdef inline uint8_t* ip_destination(uint8_t* record) noexcept nogil:
    return record + IPV4_OFFSET + 16
