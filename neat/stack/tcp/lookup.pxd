"""Where a segment's connection is: a hash table over 5-tuples, of Tcbs and TimeWaits in one chain."""

from libc.stdint cimport uint32_t
from neat.stack.state cimport WaitSlot
from neat.stack.tcp.types cimport Tcb, TcpPrivate
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey

# May a connection of this stack have it? Looked at in what a predecessor left.
cdef bint key_is_sound(Stack* stack, const FlowKey* key) noexcept nogil
# Index of a Tcb, or TW_BIT and the index of a WaitSlot; NO_INDEX: unknown.
cdef uint32_t lookup(TcpPrivate* tcp, const FlowKey* key) noexcept nogil
cdef void lookup_insert(TcpPrivate* tcp, Tcb* tcb) noexcept nogil
cdef void lookup_remove(TcpPrivate* tcp, Tcb* tcb) noexcept nogil
cdef void lookup_insert_wait(TcpPrivate* tcp, WaitSlot* wait, uint32_t index) noexcept nogil
cdef void lookup_remove_wait(TcpPrivate* tcp, WaitSlot* wait, uint32_t index) noexcept nogil
