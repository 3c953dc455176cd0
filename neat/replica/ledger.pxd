"""The ledger: the process's part of the state segment, beside the engine's. Which descriptors there are, and
what for. Written by the replica only; read by its successor, and its header by the supervisor.

| offset from `base`, in this order | what                        |
|-----------------------------------|-----------------------------|
| 0                                 | Endpoint [endpoint_count]   |
| each on a cache line of its own   | SharedEnd [MAX_SHARED]      |
|                                   | Channel [MAX_CHANNELS]      |
|                                   | Cord [MAX_CORDS]            |
|                                   | uint32_t [MAX_UNBOUND]      |
| the segment's last page           | LedgerHeader                |

A descriptor has the same number in every process that had, has or will have this state: a successor puts it
there (recovery.pyx). Numbers below LOW are the process's own."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.replica.process cimport Process

cdef enum:
    LEDGER_MAGIC = 0x4744454C
    LEDGER_VERSION = 1

# A multiple of a page.
cdef uint64_t ledger_bytes(uint32_t endpoint_count) noexcept nogil
# Point `p` at the ledger that begins at `base`, and lay it out if it is all zeros. 0: it was; 1: it is a
# predecessor's; -EINVAL: of another version or size.
cdef int ledger_open(Process* p, uint8_t* base, uint32_t endpoint_count) noexcept nogil
