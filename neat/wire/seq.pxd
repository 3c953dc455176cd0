"""Sequence arithmetic modulo 2**32 (RFC 9293 §3.4). The one place where sequence numbers are compared."""

from libc.stdint cimport uint32_t

cdef inline bint seq_lt(uint32_t a, uint32_t b) noexcept nogil:
    return ((a - b) >> 31) & 1

cdef inline bint seq_le(uint32_t a, uint32_t b) noexcept nogil:
    return not ((b - a) >> 31) & 1

cdef inline bint seq_gt(uint32_t a, uint32_t b) noexcept nogil:
    return ((b - a) >> 31) & 1

cdef inline bint seq_ge(uint32_t a, uint32_t b) noexcept nogil:
    return not ((a - b) >> 31) & 1

cdef inline uint32_t seq_max(uint32_t a, uint32_t b) noexcept nogil:
    return b if seq_lt(a, b) else a

cdef inline uint32_t seq_min(uint32_t a, uint32_t b) noexcept nogil:
    return a if seq_lt(a, b) else b

# left <= value < left + size
cdef inline bint seq_in_window(uint32_t value, uint32_t left, uint32_t size) noexcept nogil:
    return (value - left) < size
