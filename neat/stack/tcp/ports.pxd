"""Local ports of the connections that we open: the next one of ours that is free (RFC 6056 §3.3.4).

neat/ports.py says which are ours.
"""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.types cimport Stack
from neat.wire.flow cimport FlowKey

cdef int ports_create(Stack* stack) noexcept nogil

# The contract of these three is with stack_share_ports() in engine.pxd. A share and what is held of it are in
# the state segment: who goes on with it opens connections before anybody has told him.
cdef int ports_narrow(Stack* stack, uint32_t rank, uint32_t replicas) noexcept nogil
cdef int ports_share(Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held) noexcept nogil
cdef void ports_in_use(Stack* stack, uint64_t* used) noexcept nogil

# A port for key's destination, into key.local_port. 0, -EADDRNOTAVAIL (counted).
cdef int port_choose(Stack* stack, FlowKey* key) noexcept nogil
# Nobody has this 5-tuple, or a TIME-WAIT that gives way.
cdef bint port_is_free(Stack* stack, const FlowKey* key) noexcept nogil
