"""Segment state k: what survives the process. The layout is in state.pxd."""

from libc.errno cimport EINVAL
from libc.stdint cimport uint64_t
from libc.string cimport memset
from neat.shm.atomic cimport store32
from neat.stack.config cimport StackConfig


cdef void lay_out(StateHeader* header, const StackConfig* config) noexcept nogil:
    """All of a header that follows from the configuration."""
    header.version = STATE_VERSION
    header.max_connections = config.max_connections
    header.max_listeners = config.max_listeners
    header.max_udp = config.max_udp
    header.max_neighbours = STATE_NEIGHBOURS
    header.max_waits = STATE_WAITS * config.max_connections
    header.connections = STATE_HEADER
    header.listeners = header.connections + <uint64_t>config.max_connections * sizeof(ConnSlot)
    header.udp = header.listeners + <uint64_t>config.max_listeners * sizeof(ListenerSlot)
    header.neighbours = header.udp + <uint64_t>config.max_udp * sizeof(UdpSlot)
    header.waits = header.neighbours + <uint64_t>STATE_NEIGHBOURS * sizeof(NeighbourSlot)
    header.bytes = header.waits + <uint64_t>header.max_waits * sizeof(WaitSlot)


cdef uint64_t state_bytes(const StackConfig* config) noexcept nogil:
    cdef StateHeader header
    lay_out(&header, config)
    return header.bytes


cdef int state_attach(StateHeader* header, uint64_t size, const StackConfig* config) noexcept nogil:
    cdef StateHeader wanted
    if size < state_bytes(config):
        return -EINVAL
    if header.magic == 0:
        lay_out(header, config)
        store32(&header.magic, STATE_MAGIC)
        return 0
    memset(&wanted, 0, sizeof(StateHeader))
    lay_out(&wanted, config)
    if (
        header.magic != STATE_MAGIC
        or header.version != STATE_VERSION
        or header.bytes != wanted.bytes
        or header.max_connections != wanted.max_connections
        or header.max_listeners != wanted.max_listeners
        or header.max_udp != wanted.max_udp
        or header.max_neighbours != wanted.max_neighbours
        or header.max_waits != wanted.max_waits
        or header.connections != wanted.connections
        or header.listeners != wanted.listeners
        or header.udp != wanted.udp
        or header.neighbours != wanted.neighbours
        or header.waits != wanted.waits
        or header.slots_used > header.max_connections
        or header.waits_used > header.max_waits
    ):
        return -EINVAL
    return 1


SIZES = {
    "StateHeader": sizeof(StateHeader),
    "ConnSlot": sizeof(ConnSlot),
    "ListenerSlot": sizeof(ListenerSlot),
    "UdpSlot": sizeof(UdpSlot),
    "NeighbourSlot": sizeof(NeighbourSlot),
    "WaitSlot": sizeof(WaitSlot),
}
