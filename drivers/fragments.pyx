"""Fragments follow their first one. The contract is in fragments.pxd."""

from libc.stdint cimport uint32_t, uint64_t
from neat.wire.flow cimport FlowKey, flow_equal, flow_hash


cdef uint32_t fragment_set(
    FragmentTable* table, const FlowKey* key, uint32_t id, FlowKey* hosts
) noexcept nogil:
    """The set in which a datagram's entry lies; *hosts is the key without ports."""
    hosts[0] = key[0]
    hosts.local_port = 0
    hosts.remote_port = 0
    return flow_hash(hosts, table.seed ^ id) % FRAGMENT_SETS


cdef void fragments_note(
    FragmentTable* table, const FlowKey* key, uint32_t id, uint32_t replica, uint64_t now
) noexcept nogil:
    cdef FlowKey hosts
    cdef FragmentEntry* entry
    cdef int i
    cdef uint32_t row = fragment_set(table, key, id, &hosts)
    cdef FragmentEntry* oldest = &table.entries[row][0]
    for i in range(FRAGMENT_WAYS):
        entry = &table.entries[row][i]
        if entry.seen and entry.id == id and flow_equal(&entry.hosts, &hosts):
            oldest = entry
            break
        if entry.seen < oldest.seen:
            oldest = entry
    oldest.hosts = hosts
    oldest.id = id
    oldest.replica = replica
    oldest.seen = now


cdef int fragments_find(FragmentTable* table, const FlowKey* key, uint32_t id, uint64_t now) noexcept nogil:
    cdef FlowKey hosts
    cdef FragmentEntry* entry
    cdef int i
    cdef uint32_t row = fragment_set(table, key, id, &hosts)
    for i in range(FRAGMENT_WAYS):
        entry = &table.entries[row][i]
        if entry.seen and entry.id == id and flow_equal(&entry.hosts, &hosts):
            return <int>entry.replica if now - entry.seen < FRAGMENT_LIFE else -1
    return -1
