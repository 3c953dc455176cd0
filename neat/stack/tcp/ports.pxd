"""Local ports of the connections that we open: the next one of ours that is free (RFC 6056 §3.3.4).

neat/ports.py says which are ours.
"""
cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from neat.stack.counters cimport Counter
from neat.stack.tcp.isn cimport port_hash
from neat.stack.tcp.listen cimport port_listens
from neat.stack.tcp.lookup cimport lookup
from neat.stack.tcp.timewait cimport wait_gives_way
from neat.stack.tcp.types cimport NO_INDEX, PORT_COUNTERS, TW_BIT, TcpPrivate
from neat.stack.types cimport Stack, count
from neat.wire.flow cimport FlowKey

cdef int ports_create(Stack* stack) noexcept nogil
# The ports p with p % replicas == rank are this replica's from now on, but for those whose bit is set in held[1024]
# (NULL: none): another one still has connections from there. -EINVAL.
cdef int ports_share(Stack* stack, uint32_t rank, uint32_t replicas, const uint64_t* held) noexcept nogil
cdef inline bint port_is_held(Stack* stack, uint32_t port) noexcept nogil:
    return (stack.tcp.held_ports[port >> 6] >> (port & 63)) & 1
# A port for key's destination, into key.local_port. 0, -EADDRNOTAVAIL (counted).
@cython.locals(n=uint32_t, i=uint32_t, port=uint32_t, first=uint32_t, step=uint32_t)
@cython.locals(mixed=uint64_t, start=uint64_t, counter="uint32_t*")
cdef int port_choose(Stack* stack, FlowKey* key) noexcept nogil
# Nobody has this 5-tuple, or a TIME-WAIT that gives way.
@cython.locals(at=uint32_t)
cdef bint port_is_free(Stack* stack, const FlowKey* key) noexcept nogil
