"""Segment link k: layout (link.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    LINK_MAGIC = 0x4B4E494C
    LINK_VERSION = 2
    LINK_HEADER = 4096
    INTAKE_CAPACITY = 1 << 18       # small, so that it stays in the cache; it holds a burst at least

cdef struct LinkHeader:
    uint32_t magic
    uint32_t version
    uint64_t rx_capacity
    uint64_t tx_capacity
