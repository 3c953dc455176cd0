"""Segment link k: the two frame rings between the driver and replica k (ARCHITECTURE.md, "Memory").

| offset                                | what                                        |
|---------------------------------------|---------------------------------------------|
| 0                                     | LinkHeader, 4096 bytes                      |
| 4096                                  | receive ring (driver produces), header+data |
| 4096 + ring_bytes(rx_capacity)        | transmit ring (replica produces)            |

Doorbells (eventfds) travel beside the segment: `rx` wakes the replica, `tx` wakes the driver. All transmit rings share the
driver's one doorbell. A consumer of several rings sets the sleeping flag of each, and looks at each again, before it blocks.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.shm.ring cimport ring_bytes

cdef enum:
    LINK_MAGIC = 0x4B4E494C
    LINK_VERSION = 1
    LINK_HEADER = 4096

cdef struct LinkHeader:
    uint32_t magic
    uint32_t version
    uint64_t rx_capacity
    uint64_t tx_capacity

# Where the transmit ring starts; the receive ring starts at LINK_HEADER.
cdef inline uint64_t link_tx_offset(uint64_t rx_capacity) noexcept nogil:
    return LINK_HEADER + ring_bytes(rx_capacity)
