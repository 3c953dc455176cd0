"""Local ports of the connections that we open: the next one of ours that is free (RFC 6056 §3.3.4).

neat/ports.py says which are ours.
"""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey

cdef int ports_create(Stack* stack) noexcept nogil
# The ports p with p % replicas == rank are this replica's from now on, but for those whose bit is set in
# held[1024] (NULL: none): another one still has connections from there. -EINVAL.
cdef int ports_share(Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held) noexcept nogil
# A port for key's destination, into key.local_port. 0, -EADDRNOTAVAIL (counted).
cdef int port_choose(Stack* stack, FlowKey* key) noexcept nogil
# Nobody has this 5-tuple, or a TIME-WAIT that gives way.
cdef bint port_is_free(Stack* stack, const FlowKey* key) noexcept nogil
