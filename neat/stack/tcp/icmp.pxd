"""What ICMP errors mean to a connection (RFC 9293 §3.9.2.2, RFC 5927, RFC 5461)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey

# An ICMP error that quotes `sequence` of a segment of ours. mtu: of "fragmentation needed", else 0.
cdef void tcp_icmp_error(
    Stack* stack, const FlowKey* key, uint32_t sequence, uint8_t type, uint8_t code, uint16_t mtu
) noexcept nogil
