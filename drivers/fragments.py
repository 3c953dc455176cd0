# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Fragments follow their first one. The contract is in fragments.pxd."""

import cython


def fragment_set(table, key, id, hosts):
    """The set in which a datagram's entry lies; *hosts is the key without ports."""
    hosts[0] = key[0]
    hosts.local_port = 0
    hosts.remote_port = 0
    return flow_hash(hosts, table.seed ^ id) % FRAGMENT_SETS


@cython.locals(hosts=FlowKey, entry="FragmentEntry*", oldest="FragmentEntry*", i=cython.int, row=cython.uint)
def fragments_note(table, key, id, replica, now):
    row = fragment_set(table, key, id, cython.address(hosts))
    oldest = cython.address(table.entries[row][0])
    for i in range(FRAGMENT_WAYS):
        entry = cython.address(table.entries[row][i])
        if entry.seen and entry.id == id and flow_equal(cython.address(entry.hosts), cython.address(hosts)):
            oldest = entry
            break
        if entry.seen < oldest.seen:
            oldest = entry
    oldest.hosts = hosts
    oldest.id = id
    oldest.replica = replica
    oldest.seen = now


@cython.locals(hosts=FlowKey, entry="FragmentEntry*", i=cython.int, row=cython.uint)
def fragments_find(table, key, id, now):
    row = fragment_set(table, key, id, cython.address(hosts))
    for i in range(FRAGMENT_WAYS):
        entry = cython.address(table.entries[row][i])
        if entry.seen and entry.id == id and flow_equal(cython.address(entry.hosts), cython.address(hosts)):
            return cython.cast(cython.int, entry.replica) if now - entry.seen < FRAGMENT_LIFE else -1
    return -1
