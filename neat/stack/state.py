"""Segment state k: what survives the process. The layout is in state.pxd."""

import cython
from cython.cimports.libc.errno import EINVAL
from cython.cimports.libc.stdint import uint64_t


def state_bytes(config):
    return (
        STATE_HEADER
        + cython.cast(uint64_t, config.max_connections) * cython.sizeof(ConnSlot)
        + cython.cast(uint64_t, config.max_listeners) * cython.sizeof(ListenerSlot)
        + cython.cast(uint64_t, config.max_udp) * cython.sizeof(UdpSlot)
        + cython.cast(uint64_t, STATE_NEIGHBOURS) * cython.sizeof(NeighbourSlot)
    )


def state_attach(header, size, config):
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
        header.listeners = header.connections + cython.cast(uint64_t, config.max_connections) * cython.sizeof(
            ConnSlot
        )
        header.udp = header.listeners + cython.cast(uint64_t, config.max_listeners) * cython.sizeof(
            ListenerSlot
        )
        header.neighbours = header.udp + cython.cast(uint64_t, config.max_udp) * cython.sizeof(UdpSlot)
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
    "StateHeader": cython.sizeof(StateHeader),
    "ConnSlot": cython.sizeof(ConnSlot),
    "ListenerSlot": cython.sizeof(ListenerSlot),
    "UdpSlot": cython.sizeof(UdpSlot),
    "NeighbourSlot": cython.sizeof(NeighbourSlot),
}
