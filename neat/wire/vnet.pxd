"""The 10-byte virtio-net header that precedes each frame on a TAP device with IFF_VNET_HDR (virtio 1.2
§5.1.6)."""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    VNET_BYTES = 10
    VNET_F_NEEDS_CSUM = 1           # checksum at csum_start + csum_offset is partial: pseudo-header sum only
    VNET_F_DATA_VALID = 2           # the checksum was verified
    VNET_GSO_NONE = 0
    VNET_GSO_TCPV4 = 1
    VNET_GSO_UDP = 3
    VNET_GSO_TCPV6 = 4
    VNET_GSO_UDP_L4 = 5
    VNET_GSO_ECN = 0x80

cdef packed struct VnetHeader:      # host byte order (legacy, little endian machines)
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len
    uint16_t gso_size
    uint16_t csum_start             # from the start of the Ethernet frame
    uint16_t csum_offset
