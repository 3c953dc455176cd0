"""A 5-tuple of either address family: what the driver steers by and what a connection is called."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    /* odd, with about as many ones as zeros */
    #define NEAT_HASH_A 0x9E3779B97F4A7C15ull
    #define NEAT_HASH_B 0xA0761D6478BD642Full
    #define NEAT_HASH_C 0xE7037ED1A0B428DBull
    /* 64 x 64 -> 128 bit product, its halves xor-ed */
    static inline uint64_t neat_fold_multiply(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t fold_multiply "neat_fold_multiply"(uint64_t a, uint64_t b) noexcept
    const uint64_t HASH_A "NEAT_HASH_A"
    const uint64_t HASH_B "NEAT_HASH_B"
    const uint64_t HASH_C "NEAT_HASH_C"

cdef enum:
    FAMILY_IPV4 = 4
    FAMILY_IPV6 = 6

# 40 bytes. Ports in host order. An IPv4 address stands in bytes 0..3, the rest zero. "local" is always the stack's
# own end, whichever way the packet went, so that both directions of a flow have one key.
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
