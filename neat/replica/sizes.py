"""The state segment from outside: its size, and who holds the descriptors that belong to it."""

import os
import struct

from neat.replica.settings import state_bytes

LEDGER_HEADER = 4096  # bytes, the last of the segment
LEDGER_MAGIC = 0x4744454C
TICKS_BITS = 40
HEADER = struct.Struct("<IIQQ")  # LedgerHeader (ledger.pxd): magic, version, bytes, holder

__all__ = ["holder_of", "state_bytes"]


def holder_of(fd: int) -> tuple[int, int] | None:
    """(pid, start ticks) of the process that keeps this state's descriptors, as its ledger says. Whether it
    is alive is another question. None: there is none, so the state cannot go on in a successor."""
    at = os.fstat(fd).st_size - LEDGER_HEADER
    if at < 0:
        return None
    magic, _version, _bytes, holder = HEADER.unpack(os.pread(fd, HEADER.size, at))
    if magic != LEDGER_MAGIC or holder == 0:
        return None
    return holder >> TICKS_BITS, holder & (1 << TICKS_BITS) - 1
