# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""The Internet checksum. Read RFC 1071 §2 first: a sum in words of any size and byte order will do."""

import cython
from cython.cimports.libc.string import memcpy


@cython.locals(words=cython.ulonglong[4], i=cython.uint, low=cython.ulonglong, carries=cython.ulonglong)
def checksum_add(data, length, total):
    """Sum 64-bit words and their carries apart, fold at the end: the result stays far from overflow."""
    low = 0
    carries = 0
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


@cython.locals(part=cython.ulonglong)
def checksum_add_at(data, length, offset, total):
    part = checksum_fold(checksum_add(data, length, 0))
    if offset & 1:
        part = (part >> 8) | ((part & 0xFF) << 8)
    return fold32(total) + part


def checksum_fold(total):
    total = fold32(fold32(total))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@cython.locals(half=cython.ushort[6])
def pseudo_header_v4(source, destination, protocol, length, total):
    memcpy(cython.address(half[0]), source, 4)
    memcpy(cython.address(half[2]), destination, 4)
    half[4] = htons(protocol)
    half[5] = htons(length)
    return checksum_add(cython.cast("const uint8_t*", half), 12, total)
