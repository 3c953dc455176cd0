"""Segment state k: what survives the process. The layout is in state.pxd."""

from libc.errno cimport EINVAL
from libc.stdint cimport uint64_t
from neat.stack.config cimport StackConfig


cdef uint64_t state_bytes(const StackConfig* config) noexcept nogil:
    return (
        STATE_HEADER
        + <uint64_t>config.max_connections * sizeof(ConnSlot)
        + <uint64_t>config.max_listeners * sizeof(ListenerSlot)
        + <uint64_t>config.max_udp * sizeof(UdpSlot)
        + <uint64_t>STATE_NEIGHBOURS * sizeof(NeighbourSlot)
    )


cdef int state_attach(StateHeader* header, uint64_t size, const StackConfig* config) noexcept nogil:
    if size < state_bytes(config):
        return -EINVAL
    if header.magic == 0:
        header.version = STATE_VERSION
        header.bytes = state_bytes(config)
        header.max_connections = config.max_connections
        header.max_listeners = config.max_listeners
        header.max_udp = config.max_udp
        header.max_neighbours = STATE_NEIGHBOURS
        header.connections = STATE_HEADER
        header.listeners = header.connections + <uint64_t>config.max_connections * sizeof(ConnSlot)
        header.udp = header.listeners + <uint64_t>config.max_listeners * sizeof(ListenerSlot)
        header.neighbours = header.udp + <uint64_t>config.max_udp * sizeof(UdpSlot)
        header.magic = STATE_MAGIC
    if (
        header.magic != STATE_MAGIC
        or header.version != STATE_VERSION
        or header.bytes != state_bytes(config)
        or header.max_connections != config.max_connections
        or header.max_listeners != config.max_listeners
        or header.max_udp != config.max_udp
        or header.max_neighbours != STATE_NEIGHBOURS
    ):
        return -EINVAL
    header.incarnation += 1
    return 0


SIZES = {
    "StateHeader": sizeof(StateHeader),
    "ConnSlot": sizeof(ConnSlot),
    "ListenerSlot": sizeof(ListenerSlot),
    "UdpSlot": sizeof(UdpSlot),
    "NeighbourSlot": sizeof(NeighbourSlot),
}
