"""Where things lie in the ledger."""

from libc.errno cimport EINVAL
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from neat.replica.process cimport (
    MAX_CHANNELS, MAX_CORDS, MAX_SHARED, MAX_UNBOUND, Channel, Cord, Endpoint, LedgerHeader, Process,
    SharedEnd,
)
from neat.shm.atomic cimport store32

cdef enum:
    LINE = 64
    PAGE = 4096


cdef uint64_t lines(uint64_t length) noexcept nogil:
    return (length + LINE - 1) & ~<uint64_t>(LINE - 1)


cdef uint64_t ledger_bytes(uint32_t endpoint_count) noexcept nogil:
    length = (
        lines(endpoint_count * sizeof(Endpoint))
        + lines(MAX_SHARED * sizeof(SharedEnd))
        + lines(MAX_CHANNELS * sizeof(Channel))
        + lines(MAX_CORDS * sizeof(Cord))
        + MAX_UNBOUND * sizeof(uint32_t)
    )
    return ((length + PAGE - 1) & ~<uint64_t>(PAGE - 1)) + sizeof(LedgerHeader)


cdef int ledger_open(Process* p, uint8_t* base, uint32_t endpoint_count) noexcept nogil:
    at = base
    length = ledger_bytes(endpoint_count)
    header = <LedgerHeader*>(base + length - sizeof(LedgerHeader))
    p.ledger = header
    p.endpoint_count = endpoint_count
    p.endpoints = <Endpoint*>at
    at += lines(endpoint_count * sizeof(Endpoint))
    p.shared = <SharedEnd*>at
    at += lines(MAX_SHARED * sizeof(SharedEnd))
    p.channels = <Channel*>at
    at += lines(MAX_CHANNELS * sizeof(Channel))
    p.cords = <Cord*>at
    at += lines(MAX_CORDS * sizeof(Cord))
    p.unbound = <uint32_t*>at
    if header.magic == 0:
        begin(p, length)
        return 0
    if header.magic != LEDGER_MAGIC or header.version != LEDGER_VERSION:
        return -EINVAL
    return 1 if header.bytes == length and header.endpoint_count == endpoint_count else -EINVAL


cdef void begin(Process* p, uint64_t length) noexcept nogil:
    cdef int32_t i
    for i in range(<int32_t>p.endpoint_count):
        p.endpoints[i].fd = p.endpoints[i].next = p.endpoints[i].queue = -1
    for i in range(MAX_SHARED):
        p.shared[i].fd = -1
    for i in range(MAX_CORDS):
        p.cords[i].fd = -1
    p.ledger.version = LEDGER_VERSION
    p.ledger.bytes = length
    p.ledger.endpoint_count = p.endpoint_count
    store32(&p.ledger.magic, LEDGER_MAGIC)
