"""Unpredictable numbers from a secret: ISNs, timestamp offsets, port offsets."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey


cdef inline uint64_t rotl(uint64_t x, int by) noexcept nogil:
    return (x << by) | (x >> (64 - by))


# SipHash-2-4 of `length` bytes under a 128-bit key.
cdef uint64_t siphash(const uint64_t* key, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint64_t word, b
    cdef uint32_t i
    cdef uint64_t v0 = key[0] ^ <uint64_t>0x736F6D6570736575
    cdef uint64_t v1 = key[1] ^ <uint64_t>0x646F72616E646F6D
    cdef uint64_t v2 = key[0] ^ <uint64_t>0x6C7967656E657261
    cdef uint64_t v3 = key[1] ^ <uint64_t>0x7465646279746573
    cdef uint32_t blocks = length // 8
    for i in range(blocks + 5):
        word = 0
        if i < blocks:
            memcpy(&word, data + 8 * i, 8)
        elif i == blocks:
            memcpy(&word, data + 8 * i, length & 7)
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


cdef void isn_create(Stack* stack) noexcept nogil:
    for i in range(2):
        memcpy(&stack.tcp.isn_key[i], &stack.config.secret[8 * i], 8)
        memcpy(&stack.tcp.ts_key[i], &stack.config.secret[8 * i + 8], 8)
        memcpy(&stack.tcp.port_key[i], &stack.config.secret[8 * i + 16], 8)
    stack.tcp.hash_seed = <uint32_t>(stack.tcp.port_key[0] ^ (stack.tcp.ts_key[1] >> 32))
    # A successor does not choose the same ports in the same order: peers may still know the last connections.
    cdef uint64_t birth = stack.now + stack.config.replica
    birth = siphash(stack.tcp.port_key, <uint8_t*>&birth, 8)
    stack.tcp.port_key[0] ^= birth


cdef uint32_t isn(Stack* stack, const FlowKey* key) noexcept nogil:
    """RFC 6528 §3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey), M in units of 4 us."""
    data = <uint8_t*>key
    f = siphash(stack.tcp.isn_key, data, sizeof(FlowKey))
    return <uint32_t>(f + stack.now // 4000)


cdef uint32_t timestamp_offset(Stack* stack, const FlowKey* key) noexcept nogil:
    data = <uint8_t*>key
    return <uint32_t>siphash(stack.tcp.ts_key, data, sizeof(FlowKey))


cdef uint64_t port_hash(Stack* stack, const FlowKey* key) noexcept nogil:
    cdef FlowKey peer = key[0]
    peer.local_port = 0
    data = <uint8_t*>&peer
    return siphash(stack.tcp.port_key, data, sizeof(FlowKey))
