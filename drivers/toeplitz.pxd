"""The Toeplitz hash that network cards steer by (Microsoft, "RSS hashing functions"), one table lookup for
each input byte."""

from libc.stdint cimport uint8_t, uint32_t
from neat.wire.flow cimport FlowKey

cdef enum:
    TOEPLITZ_KEY = 40               # bytes
    TOEPLITZ_INPUT = 36             # two IPv6 addresses and two ports

# table[i][b]: what byte b at position i of the input adds to the hash.
cdef struct Toeplitz:
    uint32_t table[TOEPLITZ_INPUT][256]

cdef void toeplitz_init(Toeplitz* toeplitz, const uint8_t* key) noexcept nogil      # key: TOEPLITZ_KEY bytes
# Of a packet on its way to the stack: remote address, local address, then (if asked for) remote port, local
# port. An answer of the stack has the same key (neat/wire/flow.pxd) and so the same hash.
cdef uint32_t toeplitz_flow(const Toeplitz* toeplitz, const FlowKey* key, bint ports) noexcept nogil
