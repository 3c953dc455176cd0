"""The Internet checksum. Read RFC 1071 §2 first: a sum in words of any size and byte order will do."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.wire.headers cimport htons

# A 64-bit sum to one below 2**33 that is equal modulo 2**16 - 1.
cdef inline uint64_t fold32(uint64_t total) noexcept nogil:
    return (total & <uint64_t>0xFFFFFFFF) + (total >> 32)


cdef uint64_t checksum_add(const uint8_t* data, uint32_t length, uint64_t total) noexcept nogil:
    """Sum 64-bit words and their carries apart, fold at the end: the result stays far from overflow."""
    cdef uint64_t words[4]
    cdef uint32_t i
    cdef uint64_t low = 0
    cdef uint64_t carries = 0
    while length >= 32:
        memcpy(words, data, 32)
        for i in range(4):
            low += words[i]
            carries += low < words[i]
        data += 32
        length -= 32
    if length:
        for i in range(4):
            words[i] = 0
        memcpy(words, data, length)
        for i in range(4):
            low += words[i]
            carries += low < words[i]
    return fold32(total) + fold32(low) + carries


cdef uint64_t checksum_add_at(
    const uint8_t* data, uint32_t length, uint32_t offset, uint64_t total
) noexcept nogil:
    cdef uint64_t part = checksum_fold(checksum_add(data, length, 0))
    if offset & 1:
        part = (part >> 8) | ((part & 0xFF) << 8)
    return fold32(total) + part


cdef uint16_t checksum_fold(uint64_t total) noexcept nogil:
    total = fold32(fold32(total))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


cdef uint64_t pseudo_header_v4(
    const uint8_t* source, const uint8_t* destination, uint8_t protocol, uint32_t length, uint64_t total
) noexcept nogil:
    cdef uint16_t half[6]
    memcpy(&half[0], source, 4)
    memcpy(&half[2], destination, 4)
    half[4] = htons(protocol)
    half[5] = htons(length)
    return checksum_add(<const uint8_t*>half, 12, total)
