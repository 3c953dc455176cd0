"""Where a segment's connection is: a hash table over 5-tuples, of Tcbs and TimeWaits in one chain."""

from libc.stdint cimport uint32_t
from neat.stack.tcp.types cimport Tcb, TcpPrivate, TimeWait
from neat.wire.flow cimport FlowKey

# Index of a Tcb, or TW_BIT and the index of a TimeWait; NO_INDEX: unknown.
cdef uint32_t lookup(TcpPrivate* tcp, const FlowKey* key) noexcept nogil
cdef void lookup_insert(TcpPrivate* tcp, Tcb* tcb) noexcept nogil
cdef void lookup_remove(TcpPrivate* tcp, Tcb* tcb) noexcept nogil
cdef void lookup_insert_wait(TcpPrivate* tcp, TimeWait* wait, uint32_t index) noexcept nogil
cdef void lookup_remove_wait(TcpPrivate* tcp, TimeWait* wait, uint32_t index) noexcept nogil
