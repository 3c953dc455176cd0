"""TCP segments in: parse, find the connection, hand on to the state's function (RFC 9293 §3.10.7)."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey

cdef void tcp_input(Stack* stack, Packet* packet) noexcept nogil
# An ICMP error that quotes `sequence` of a segment of ours. mtu: of "fragmentation needed", else 0.
cdef void tcp_icmp_error(Stack* stack, const FlowKey* key, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu) noexcept nogil
