# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Toeplitz hash: the xor, over all input bits that are set, of the key's 32 bits from that position on."""

import cython


@cython.locals(bits=cython.ulonglong, i=cython.uint)
def window(key, bit):
    """The 32 bits of the key from `bit` on, bit 0 being the most significant of the first byte."""
    bits = 0
    for i in range(5):
        bits = (bits << 8) | key[(bit >> 3) + i]
    return cython.cast("uint32_t", bits >> (8 - (bit & 7)))


@cython.locals(position=cython.int, byte=cython.uint, bit=cython.uint, value=cython.uint)
@cython.locals(windows=cython.uint[8])
def toeplitz_init(toeplitz, key):
    for position in range(TOEPLITZ_INPUT):
        for bit in range(8):
            windows[bit] = window(key, position * 8 + bit)
        for byte in range(256):
            value = 0
            for bit in range(8):
                if byte & (0x80 >> bit):
                    value ^= windows[bit]
            toeplitz.table[position][byte] = value


@cython.locals(i=cython.uint)
def add_bytes(toeplitz, position, data, length, value):
    for i in range(length):
        value ^= toeplitz.table[position + i][data[i]]
    return value


def add_port(toeplitz, position, port, value):
    return value ^ toeplitz.table[position][port >> 8] ^ toeplitz.table[position + 1][port & 0xFF]


@cython.locals(width=cython.uint, value=cython.uint)
def toeplitz_flow(toeplitz, key, ports):
    width = 16 if key.family == FAMILY_IPV6 else 4
    value = add_bytes(toeplitz, 0, key.remote, width, 0)
    value = add_bytes(toeplitz, width, key.local, width, value)
    if ports:
        value = add_port(toeplitz, 2 * width, key.remote_port, value)
        value = add_port(toeplitz, 2 * width + 2, key.local_port, value)
    return value
