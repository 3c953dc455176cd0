"""Unpredictable numbers from a secret: ISNs (RFC 6528), timestamp offsets (RFC 7323 §7.1), port offsets (RFC
6056 §3.3.4)."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey
from neat.wire.seq cimport seq_gt

cdef enum:
    ISN_GAP = 64000

cdef void isn_create(Stack* stack) noexcept nogil
cdef uint32_t isn(Stack* stack, const FlowKey* key) noexcept nogil
cdef uint32_t timestamp_offset(Stack* stack, const FlowKey* key) noexcept nogil

# An ISN for a connection that was open before, and used sequence numbers up to `floor` (RFC 9293 §3.6.1: "its
# ISN for the new connection to be larger than the largest sequence number it used").
cdef inline uint32_t isn_beyond(uint32_t iss, uint32_t floor) noexcept nogil:
    return iss if seq_gt(iss, floor) else floor + ISN_GAP

# RFC 6056 §3.3.4: F and G of (local IP, remote IP, remote port, secret), in the upper and the lower half.
cdef uint64_t port_hash(Stack* stack, const FlowKey* key) noexcept nogil
