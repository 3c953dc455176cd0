"""Private memory of the IP side of an engine: owned by neighbour, ipv4, icmp and udp, embedded in Stack as `ip` and `udp`."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct IpPrivate:
    uint16_t identification
    void* memory                    # what neighbour and icmp allocate at creation

cdef struct UdpPrivate:
    void* memory                    # what udp allocates at creation
