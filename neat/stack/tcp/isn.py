"""Unpredictable numbers from a secret: ISNs, timestamp offsets, port offsets."""

import cython


def siphash(key, data, length):
    v0 = key[0] ^ cython.cast(uint64_t, 0x736F6D6570736575)
    v1 = key[1] ^ cython.cast(uint64_t, 0x646F72616E646F6D)
    v2 = key[0] ^ cython.cast(uint64_t, 0x6C7967656E657261)
    v3 = key[1] ^ cython.cast(uint64_t, 0x7465646279746573)
    blocks = length // 8
    for i in range(blocks + 5):
        word = 0
        if i < blocks:
            memcpy(cython.address(word), data + 8 * i, 8)
        elif i == blocks:
            memcpy(cython.address(word), data + 8 * i, length & 7)
            b = length & 0xFF
            word |= b << 56
        elif i == blocks + 1:
            v2 ^= 0xFF
        v3 ^= word
        rounds = 2 if i <= blocks else 1
        while rounds > 0:
            rounds -= 1
            v0 += v1
            v1 = rotl(v1, 13) ^ v0
            v0 = rotl(v0, 32)
            v2 += v3
            v3 = rotl(v3, 16) ^ v2
            v0 += v3
            v3 = rotl(v3, 21) ^ v0
            v2 += v1
            v1 = rotl(v1, 17) ^ v2
            v2 = rotl(v2, 32)
        v0 ^= word
    return v0 ^ v1 ^ v2 ^ v3


def isn_create(stack):
    for i in range(2):
        memcpy(cython.address(stack.tcp.isn_key[i]), cython.address(stack.config.secret[8 * i]), 8)
        memcpy(cython.address(stack.tcp.ts_key[i]), cython.address(stack.config.secret[8 * i + 8]), 8)
        memcpy(cython.address(stack.tcp.port_key[i]), cython.address(stack.config.secret[8 * i + 16]), 8)
    stack.tcp.hash_seed = cython.cast(uint32_t, stack.tcp.port_key[0] ^ (stack.tcp.ts_key[1] >> 32))
    # A successor does not choose the same ports in the same order: peers may still know the last connections.
    birth = stack.now + stack.config.replica
    birth = siphash(stack.tcp.port_key, cython.cast(cython.pointer(uint8_t), cython.address(birth)), 8)
    stack.tcp.port_key[0] ^= birth


def isn(stack, key):
    """RFC 6528 §3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey), M in units of 4 us."""
    data = cython.cast(cython.pointer(uint8_t), key)
    f = siphash(stack.tcp.isn_key, data, cython.sizeof(FlowKey))
    return cython.cast(uint32_t, f + stack.now // 4000)


def timestamp_offset(stack, key):
    data = cython.cast(cython.pointer(uint8_t), key)
    return cython.cast(uint32_t, siphash(stack.tcp.ts_key, data, cython.sizeof(FlowKey)))


def port_hash(stack, key):
    peer = key[0]
    peer.local_port = 0
    data = cython.cast(cython.pointer(uint8_t), cython.address(peer))
    return siphash(stack.tcp.port_key, data, cython.sizeof(FlowKey))
