"""Where a segment's connection is: a hash table over 5-tuples, of Tcbs and TimeWaits in one chain."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp
from neat.stack.state cimport WaitSlot
from neat.stack.tcp.types cimport NO_INDEX, TF_HASHED, TW_BIT, Tcb, TcpPrivate
from neat.stack.types cimport Stack
from neat.wire.flow cimport FAMILY_IPV4, FlowKey, flow_equal, flow_hash
from neat.wire.headers cimport PROTO_TCP


cdef bint key_is_sound(Stack* stack, const FlowKey* key) noexcept nogil:
    return (
        key.family == FAMILY_IPV4
        and key.protocol == PROTO_TCP
        and key.local_port != 0
        and key.remote_port != 0
        and memcmp(key.local, stack.config.address, 4) == 0
        and 0 < key.remote[0] < 224
    )


cdef uint32_t* bucket(TcpPrivate* tcp, const FlowKey* key) noexcept nogil:
    return &tcp.buckets[flow_hash(key, tcp.hash_seed) & tcp.bucket_mask]


cdef uint32_t* link_of(TcpPrivate* tcp, uint32_t at) noexcept nogil:
    """The chain link behind an entry."""
    if at & TW_BIT:
        return &tcp.wait_links[at & ~TW_BIT].hash_next
    return &tcp.tcbs[at].hash_next


cdef uint32_t lookup(TcpPrivate* tcp, const FlowKey* key) noexcept nogil:
    cdef uint32_t at = bucket(tcp, key)[0]
    while at != NO_INDEX:
        if at & TW_BIT:
            if flow_equal(&tcp.waits[at & ~TW_BIT].key, key):
                return at
        elif flow_equal(&tcp.tcbs[at].slot.key, key):
            return at
        at = link_of(tcp, at)[0]
    return NO_INDEX


cdef void unlink(TcpPrivate* tcp, const FlowKey* key, uint32_t entry) noexcept nogil:
    cdef uint32_t* link = bucket(tcp, key)
    while link[0] != NO_INDEX:
        if link[0] == entry:
            link[0] = link_of(tcp, entry)[0]
            return
        link = link_of(tcp, link[0])


cdef void lookup_insert(TcpPrivate* tcp, Tcb* tcb) noexcept nogil:
    head = bucket(tcp, &tcb.slot.key)
    tcb.hash_next = head[0]
    head[0] = tcb.index
    tcb.flags |= TF_HASHED


cdef void lookup_remove(TcpPrivate* tcp, Tcb* tcb) noexcept nogil:
    if tcb.flags & TF_HASHED:
        tcb.flags &= ~TF_HASHED
        unlink(tcp, &tcb.slot.key, tcb.index)


cdef void lookup_insert_wait(TcpPrivate* tcp, WaitSlot* wait, uint32_t index) noexcept nogil:
    head = bucket(tcp, &wait.key)
    tcp.wait_links[index].hash_next = head[0]
    head[0] = index | TW_BIT


cdef void lookup_remove_wait(TcpPrivate* tcp, WaitSlot* wait, uint32_t index) noexcept nogil:
    unlink(tcp, &wait.key, index | TW_BIT)
