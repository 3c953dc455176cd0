"""A 5-tuple of either address family: what the driver steers by and what a connection is called."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    FAMILY_IPV4 = 4
    FAMILY_IPV6 = 6

# 40 bytes. Ports in host order. An IPv4 address stands in bytes 0..3, the rest zero. "local" is always the
# stack's own end, whichever way the packet went, so that both directions of a flow have one key.
cdef struct FlowKey:
    uint8_t family
    uint8_t protocol                # IPPROTO_TCP, IPPROTO_UDP, ...
    uint16_t local_port
    uint16_t remote_port
    uint16_t zone                   # zero; room for VLANs or more stacks
    uint8_t local[16]
    uint8_t remote[16]

cdef bint flow_equal(const FlowKey* a, const FlowKey* b) noexcept nogil
# A fast keyed hash for tables in memory (not the Toeplitz hash that steers).
cdef uint32_t flow_hash(const FlowKey* key, uint32_t seed) noexcept nogil
