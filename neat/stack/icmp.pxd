"""ICMP (RFC 792, RFC 1122 §3.2.2): echo, errors that we send, errors about what we sent."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack

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

cdef bint is_error(uint8_t type) noexcept nogil
cdef void icmp_input(Stack* stack, Packet* packet) noexcept nogil
# Queue an error about a packet unless RFC 1122 §3.2.2 forbids it, or there were too many (RFC 1812 §4.3.2.8).
cdef void icmp_error(Stack* stack, Packet* packet, uint8_t type, uint8_t code) noexcept nogil
# A frame of ours that did not leave, as if the first router on its way had refused it with this code.
cdef void own_frame_refused(Stack* stack, const uint8_t* frame, uint32_t length, uint8_t code) noexcept nogil
