"""Unpredictable numbers from a secret: ISNs (RFC 6528), timestamp offsets (RFC 7323 §7.1), port offsets (RFC 6056 §3.3.4)."""
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey
from neat.wire.seq cimport seq_gt

cdef enum:
    ISN_GAP = 64000

cdef inline uint64_t rotl(uint64_t x, int by) noexcept nogil:
    return (x << by) | (x >> (64 - by))

# SipHash-2-4 of `length` bytes under a 128-bit key.
@cython.locals(v0=uint64_t, v1=uint64_t, v2=uint64_t, v3=uint64_t, word=uint64_t, i=uint32_t, blocks=uint32_t, b=uint64_t)
cdef uint64_t siphash(const uint64_t* key, const uint8_t* data, uint32_t length) noexcept nogil
@cython.locals(birth=uint64_t)
cdef void isn_create(Stack* stack) noexcept nogil
cdef uint32_t isn(Stack* stack, const FlowKey* key) noexcept nogil
cdef uint32_t timestamp_offset(Stack* stack, const FlowKey* key) noexcept nogil
# An ISN for a connection that was open before, and used sequence numbers up to `floor` (RFC 9293 §3.6.1: "its ISN
# for the new connection to be larger than the largest sequence number it used").
cdef inline uint32_t isn_beyond(uint32_t iss, uint32_t floor) noexcept nogil:
    return iss if seq_gt(iss, floor) else floor + ISN_GAP
# RFC 6056 §3.3.4: F and G of (local IP, remote IP, remote port, secret), in the upper and the lower half.
@cython.locals(peer=FlowKey)
cdef uint64_t port_hash(Stack* stack, const FlowKey* key) noexcept nogil
