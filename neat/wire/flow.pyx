"""Equality and hash of 5-tuples, word by word."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

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


cdef bint flow_equal(const FlowKey* a, const FlowKey* b) noexcept nogil:
    cdef uint64_t x[5]
    cdef uint64_t y[5]
    memcpy(x, a, 40)
    memcpy(y, b, 40)
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4])) == 0


cdef uint32_t flow_hash(const FlowKey* key, uint32_t seed) noexcept nogil:
    """Every multiplication depends on the seed, so nobody can prepare collisions without it."""
    cdef uint64_t w[5]
    memcpy(w, key, 40)
    cdef uint64_t k = fold_multiply(seed ^ HASH_A, HASH_B)
    cdef uint64_t h = fold_multiply(w[0] ^ k, w[1] ^ HASH_A ^ (k << 1))
    h = fold_multiply(w[2] ^ h, w[3] ^ k ^ HASH_B)
    h = fold_multiply(w[4] ^ h, k ^ HASH_C)
    return <uint32_t>(h ^ (h >> 32))
