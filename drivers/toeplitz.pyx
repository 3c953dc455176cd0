"""Toeplitz hash: the xor, over all input bits that are set, of the key's 32 bits from that position on."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from neat.wire.flow cimport FAMILY_IPV6, FlowKey


cdef uint32_t window(const uint8_t* key, uint32_t bit) noexcept nogil:
    """The 32 bits of the key from `bit` on, bit 0 being the most significant of the first byte."""
    cdef uint32_t i
    cdef uint64_t bits = 0
    for i in range(5):
        bits = (bits << 8) | key[(bit >> 3) + i]
    return <uint32_t>(bits >> (8 - (bit & 7)))


cdef void toeplitz_init(Toeplitz* toeplitz, const uint8_t* key) noexcept nogil:
    cdef int position
    cdef uint32_t byte
    cdef uint32_t bit
    cdef uint32_t value
    cdef uint32_t windows[8]
    for position in range(TOEPLITZ_INPUT):
        for bit in range(8):
            windows[bit] = window(key, position * 8 + bit)
        for byte in range(256):
            value = 0
            for bit in range(8):
                if byte & (0x80 >> bit):
                    value ^= windows[bit]
            toeplitz.table[position][byte] = value


cdef uint32_t add_bytes(
    const Toeplitz* toeplitz, uint32_t position, const uint8_t* data, uint32_t length, uint32_t value
) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        value ^= toeplitz.table[position + i][data[i]]
    return value


cdef uint32_t add_port(
    const Toeplitz* toeplitz, uint32_t position, uint16_t port, uint32_t value
) noexcept nogil:
    return value ^ toeplitz.table[position][port >> 8] ^ toeplitz.table[position + 1][port & 0xFF]


cdef uint32_t toeplitz_flow(const Toeplitz* toeplitz, const FlowKey* key, bint ports) noexcept nogil:
    cdef uint32_t width = 16 if key.family == FAMILY_IPV6 else 4
    cdef uint32_t value = add_bytes(toeplitz, 0, key.remote, width, 0)
    value = add_bytes(toeplitz, width, key.local, width, value)
    if ports:
        value = add_port(toeplitz, 2 * width, key.remote_port, value)
        value = add_port(toeplitz, 2 * width + 2, key.local_port, value)
    return value


def tables(bytes key not None):
    """The lookup tables of a key: for each byte of the input in its order, 256 words."""
    cdef Toeplitz toeplitz
    if len(key) != TOEPLITZ_KEY:
        raise ValueError(f"an RSS key has {TOEPLITZ_KEY} bytes, not {len(key)}")
    toeplitz_init(&toeplitz, key)
    return (<const uint8_t*>&toeplitz.table)[:sizeof(toeplitz.table)]
