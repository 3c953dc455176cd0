"""Where a segment's connection is: a hash table over 5-tuples, of Tcbs and TimeWaits in one chain."""

import cython


def bucket(tcp, key):
    return cython.address(tcp.buckets[flow_hash(key, tcp.hash_seed) & tcp.bucket_mask])


def link_of(tcp, at):
    """The chain link behind an entry."""
    if at & TW_BIT:
        return cython.address(tcp.waits[at & ~TW_BIT].hash_next)
    return cython.address(tcp.tcbs[at].hash_next)


def lookup(tcp, key):
    at = bucket(tcp, key)[0]
    while at != NO_INDEX:
        if at & TW_BIT:
            if flow_equal(cython.address(tcp.waits[at & ~TW_BIT].key), key):
                return at
        elif flow_equal(cython.address(tcp.tcbs[at].slot.key), key):
            return at
        at = link_of(tcp, at)[0]
    return NO_INDEX


def unlink(tcp, key, entry):
    link = bucket(tcp, key)
    while link[0] != NO_INDEX:
        if link[0] == entry:
            link[0] = link_of(tcp, entry)[0]
            return
        link = link_of(tcp, link[0])


def lookup_insert(tcp, tcb):
    head = bucket(tcp, cython.address(tcb.slot.key))
    tcb.hash_next = head[0]
    head[0] = tcb.index
    tcb.flags |= TF_HASHED


def lookup_remove(tcp, tcb):
    if tcb.flags & TF_HASHED:
        tcb.flags &= ~TF_HASHED
        unlink(tcp, cython.address(tcb.slot.key), tcb.index)


def lookup_insert_wait(tcp, wait, index):
    head = bucket(tcp, cython.address(wait.key))
    wait.hash_next = head[0]
    head[0] = index | TW_BIT


def lookup_remove_wait(tcp, wait, index):
    unlink(tcp, cython.address(wait.key), index | TW_BIT)
