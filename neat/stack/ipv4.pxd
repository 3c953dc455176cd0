"""Ethernet and IPv4 (RFC 791, RFC 1122 §3): one received record to a Packet for TCP, UDP or ICMP; headers of
what is sent.

No forwarding, no reassembly yet: fragments are counted and dropped. Options are skipped.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    ETHERNET_BYTES = 14
    IPV4_BYTES = 20
    IPV4_OFFSET = VNET_BYTES + ETHERNET_BYTES       # of the IP header in a record that we send
    L4_OFFSET = IPV4_OFFSET + IPV4_BYTES            # and of what follows
    DEFAULT_TTL = 64
    IPV4_MAX_L4 = 65535 - IPV4_BYTES
    ACCEPTED = -1                                   # no reason to drop it

cdef int ipv4_create(Stack* stack) noexcept nogil
cdef void ipv4_destroy(Stack* stack) noexcept nogil

# One record of the receive ring: any bytes, any length.
cdef void ipv4_input(Stack* stack, uint8_t* record, uint32_t length) noexcept nogil

# Write a zeroed virtio-net header, the Ethernet and the IP header (DF set; ttl 0: the default). Returns the
# offset of the transport header in the record; -EAGAIN: the neighbour is not resolved yet, a request is on
# its way; -EHOSTUNREACH, -ENETUNREACH, -EMSGSIZE.
cdef int32_t ipv4_prepare(
    Stack* stack, uint8_t* buffer, const uint8_t* destination, uint8_t protocol, uint32_t l4_length,
    uint8_t tos, uint8_t ttl
) noexcept nogil
# The MAC address of a frame to `target`: 0, or an error as of ipv4_prepare. A transport component has zeros,
# unless it answers the packet in hand.
cdef int32_t find_mac(Stack* stack, uint32_t target, uint8_t* mac) noexcept nogil
# The neighbour that frames for this unicast address go to; 0: none.
cdef uint32_t next_hop(Stack* stack, uint32_t target) noexcept nogil
# Would a frame to `destination` go to the neighbour at `address`?
cdef bint ipv4_via(Stack* stack, const uint8_t* destination, const uint8_t* address) noexcept nogil
# Queue an ICMP error about a packet, as the rules allow (RFC 1122 §3.2.2), rate limited.
cdef void ipv4_error(Stack* stack, Packet* packet, uint8_t type, uint8_t code) noexcept nogil
cdef bint is_broadcast(Stack* stack, uint32_t address) noexcept nogil
