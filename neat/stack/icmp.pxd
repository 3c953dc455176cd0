"""ICMP (RFC 792, RFC 1122 §3.2.2): echo, errors that we send, errors about what we sent."""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.ip_private cimport load_address
from neat.stack.packet cimport Packet
from neat.stack.reply cimport reply_commit, reply_reserve
from neat.stack.types cimport REPLY_BYTES, Stack, count
from neat.wire.checksum cimport checksum_add, checksum_fold
from neat.wire.flow cimport FAMILY_IPV4, FlowKey
from neat.wire.headers cimport (
    IPV4_OFFSET_MASK, PROTO_ICMP, PROTO_TCP, PROTO_UDP, IcmpHeader, Ipv4Header, htons, ntohl,
)

cdef enum IcmpType:
    ICMP_ECHO_REPLY = 0
    ICMP_UNREACHABLE = 3
    ICMP_ECHO = 8
    ICMP_TIME_EXCEEDED = 11
    ICMP_PARAMETER_PROBLEM = 12

cdef enum IcmpUnreachable:
    ICMP_NET_UNREACHABLE = 0
    ICMP_HOST_UNREACHABLE = 1
    ICMP_PROTOCOL_UNREACHABLE = 2
    ICMP_PORT_UNREACHABLE = 3
    ICMP_FRAGMENTATION_NEEDED = 4

cdef enum:
    ICMP_BYTES = 8
    REPLY_RECORD_MAX = REPLY_BYTES - 4
    ERROR_MAX = 576                 # bytes of an error's IP packet (RFC 1812 §4.3.2.3)
    ERROR_BURST = 50                # errors at once ...
    ERROR_INTERVAL = 5_000_000      # ... and one more after each so many ns

cdef void icmp_input(Stack* stack, Packet* packet) noexcept nogil
# Queue an error about a packet unless RFC 1122 §3.2.2 forbids it, or there were too many (RFC 1812 §4.3.2.8).
@cython.locals(buffer="uint8_t*", quote=uint32_t)
cdef void icmp_error(Stack* stack, Packet* packet, uint8_t type, uint8_t code) noexcept nogil

@cython.locals(buffer="uint8_t*", size=uint32_t)
cdef void echo(Stack* stack, Packet* packet) noexcept nogil
@cython.locals(header="IcmpHeader*", ip="Ipv4Header*", quote="uint8_t*", size=uint32_t, ihl=uint32_t, key=FlowKey,
               sequence=uint32_t, mtu=uint32_t)
cdef void error_arrives(Stack* stack, Packet* packet) noexcept nogil
@cython.locals(l4=int)
cdef uint8_t* begin(Stack* stack, Packet* packet, uint32_t size, uint8_t tos) noexcept nogil
@cython.locals(icmp="IcmpHeader*", total=uint64_t)
cdef void finish(Stack* stack, uint8_t* message, uint8_t type, uint8_t code, uint32_t rest, uint32_t size) noexcept nogil
cdef bint may_draw_error(Packet* packet) noexcept nogil
@cython.locals(earned=uint64_t)
cdef bint within_limit(Stack* stack) noexcept nogil
cdef bint is_error(uint8_t type) noexcept nogil
