"""ARP for Ethernet and IPv4 (RFC 826, RFC 5227): reading what comes, writing what goes. What is known is
neighbour's."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.types cimport Stack

# A frame of at least VNET_BYTES + 14 bytes with ethertype ARP, addressed to us or to all.
cdef void arp_input(Stack* stack, uint8_t* record, uint32_t length) noexcept nogil
# Write a request for `address` as a record, to `mac` or, with NULL, to everybody. Returns its length.
cdef uint32_t arp_request(
    Stack* stack, uint8_t* buffer, const uint8_t* address, const uint8_t* mac
) noexcept nogil
# Write an announcement of our own address (RFC 5227 §2.3).
cdef uint32_t arp_announce(Stack* stack, uint8_t* buffer) noexcept nogil
