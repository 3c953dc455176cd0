"""The wire room as Python sees it: for tests and tools, not for a fast path."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.wire cimport checksum, flow, seq


def internet_checksum(const uint8_t[::1] data not None, uint64_t total=0):
    """The folded, complemented checksum as the two bytes that go into a header."""
    cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
    total = checksum.checksum_add(start, <uint32_t>data.shape[0], total)
    return int(~checksum.checksum_fold(total) & 0xFFFF).to_bytes(2, "little")


def partial_sum(const uint8_t[::1] data not None, uint32_t offset=0, uint64_t total=0):
    """checksum_add_at: the unfolded sum of bytes that stand at `offset`."""
    cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
    return checksum.checksum_add_at(start, <uint32_t>data.shape[0], offset, total)


def pseudo_sum_v4(
    const uint8_t[::1] source not None, const uint8_t[::1] destination not None, protocol, length
):
    if source.shape[0] != 4 or destination.shape[0] != 4:
        raise ValueError("an IPv4 address has four bytes")
    return checksum.pseudo_header_v4(&source[0], &destination[0], protocol, length, 0)


cdef flow.FlowKey as_key(raw) except *:
    cdef flow.FlowKey key
    cdef const uint8_t[::1] view = raw
    if view.shape[0] != sizeof(key):
        raise ValueError(f"a flow key has {sizeof(key)} bytes, not {view.shape[0]}")
    memcpy(&key, &view[0], sizeof(key))
    return key


def flow_key(uint8_t family, uint8_t protocol, bytes local, local_port, bytes remote, remote_port):
    """The 40 bytes of a FlowKey; addresses have 4 or 16 bytes."""
    cdef flow.FlowKey key
    memset(&key, 0, sizeof(key))
    key.family = family
    key.protocol = protocol
    key.local_port = local_port
    key.remote_port = remote_port
    if len(local) > 16 or len(remote) > 16:
        raise ValueError("an address has 4 or 16 bytes")
    memcpy(key.local, <const uint8_t*>local, len(local))
    memcpy(key.remote, <const uint8_t*>remote, len(remote))
    return (<const uint8_t*>&key)[:sizeof(key)]


def flow_hash(key, uint32_t seed):
    cdef flow.FlowKey k = as_key(key)
    return flow.flow_hash(&k, seed)


def flow_equal(a, b):
    cdef flow.FlowKey x = as_key(a), y = as_key(b)
    return bool(flow.flow_equal(&x, &y))


def seq_lt(uint32_t a, uint32_t b):
    return bool(seq.seq_lt(a, b))


def seq_le(uint32_t a, uint32_t b):
    return bool(seq.seq_le(a, b))


def seq_gt(uint32_t a, uint32_t b):
    return bool(seq.seq_gt(a, b))


def seq_ge(uint32_t a, uint32_t b):
    return bool(seq.seq_ge(a, b))


def seq_max(uint32_t a, uint32_t b):
    return seq.seq_max(a, b)


def seq_in_window(uint32_t value, uint32_t left, uint32_t size):
    return bool(seq.seq_in_window(value, left, size))
