"""The random key of the Toeplitz hash (drivers/toeplitz.pyx), drawn so that neighbouring ports spread.

The hash is linear: an input bit that is set adds the key's 32 bits from its position on, by xor. Clients
take their ports one after another, or every second one (Linux), so many connections differ in a few bits
only. If what these bits add is linearly dependent where the hash chooses an entry of the indirection
table, connections crowd on few entries: of all keys, one in 200 leaves a replica of three without any of
40 neighbours. By a key from here, 128 neighbours, or 256 of which every second one is used, meet each
entry once, if the first one is a multiple of their number.
"""

import os
from collections.abc import Sequence

KEY_BYTES = 40
ENTRY_BITS = 7  # 128 entries (neat/shm/steering.pxd)
HASH_BITS = 32
# Where the hash's input has the remote port: behind two addresses (Microsoft, "RSS hashing functions").
PORT_AT = (2 * 4 * 8, 2 * 16 * 8)
PORT_BITS = 16


def draw() -> bytes:
    """A random key of KEY_BYTES by which neighbouring ports spread, over IPv4 and over IPv6."""
    while True:
        key = os.urandom(KEY_BYTES)
        if spreads(key):
            return key


def spreads(key: bytes) -> bool:
    """Whether the lowest seven bits of the remote port, and the seven above the lowest, each reach every
    entry."""
    added = [[entry_bits(key, at + PORT_BITS - 1 - bit) for bit in range(ENTRY_BITS + 1)] for at in PORT_AT]
    return all(rank(rows) == ENTRY_BITS for bits in added for rows in (bits[:-1], bits[1:]))


def entry_bits(key: bytes, position: int) -> int:
    """What the input bit at `position` (0: the first) adds to the number of the entry."""
    behind = len(key) * 8 - position - HASH_BITS
    return int.from_bytes(key, "big") >> behind & (1 << ENTRY_BITS) - 1


def rank(rows: Sequence[int]) -> int:
    """Of a matrix over GF(2), a row a number."""
    basis: list[int] = []
    for row in rows:
        for pivot in basis:
            row = min(row, row ^ pivot)
        if row:
            basis.append(row)
    return len(basis)
