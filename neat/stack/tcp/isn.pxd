"""Unpredictable numbers from a secret: ISNs (RFC 6528), timestamp offsets (RFC 7323 §7.1), port offsets (RFC 6056 §3.3.3)."""
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey

cdef inline uint64_t rotl(uint64_t x, int by) noexcept nogil:
    return (x << by) | (x >> (64 - by))

# SipHash-2-4 of `length` bytes under a 128-bit key.
@cython.locals(v0=uint64_t, v1=uint64_t, v2=uint64_t, v3=uint64_t, word=uint64_t, i=uint32_t, blocks=uint32_t, b=uint64_t)
cdef uint64_t siphash(const uint64_t* key, const uint8_t* data, uint32_t length) noexcept nogil
cdef void isn_create(Stack* stack) noexcept nogil
cdef uint32_t isn(Stack* stack, const FlowKey* key) noexcept nogil
cdef uint32_t timestamp_offset(Stack* stack, const FlowKey* key) noexcept nogil
# RFC 6056 §3.3.3: F(local IP, remote IP, remote port, secret).
@cython.locals(peer=FlowKey)
cdef uint32_t port_offset(Stack* stack, const FlowKey* key) noexcept nogil
