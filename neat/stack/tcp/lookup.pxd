"""Where a segment's connection is: a hash table over 5-tuples, of Tcbs and TimeWaits in one chain."""
cimport cython
from libc.stdint cimport uint32_t
from neat.stack.tcp.types cimport NO_INDEX, TF_HASHED, TW_BIT, Tcb, TcpPrivate, TimeWait
from neat.wire.flow cimport FlowKey, flow_equal, flow_hash

# Index of a Tcb, or TW_BIT and the index of a TimeWait; NO_INDEX: unknown.
@cython.locals(at=uint32_t)
cdef uint32_t lookup(TcpPrivate* tcp, const FlowKey* key) noexcept nogil
cdef void lookup_insert(TcpPrivate* tcp, Tcb* tcb) noexcept nogil
cdef void lookup_remove(TcpPrivate* tcp, Tcb* tcb) noexcept nogil
cdef void lookup_insert_wait(TcpPrivate* tcp, TimeWait* wait, uint32_t index) noexcept nogil
cdef void lookup_remove_wait(TcpPrivate* tcp, TimeWait* wait, uint32_t index) noexcept nogil

cdef uint32_t* bucket(TcpPrivate* tcp, const FlowKey* key) noexcept nogil
cdef uint32_t* link_of(TcpPrivate* tcp, uint32_t at) noexcept nogil
@cython.locals(link="uint32_t*")
cdef void unlink(TcpPrivate* tcp, const FlowKey* key, uint32_t entry) noexcept nogil
