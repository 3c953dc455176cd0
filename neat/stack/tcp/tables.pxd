"""TCP's private memory: made at birth, freed at the end; and what concerns all connections of a channel."""
cimport cython
from libc.stdint cimport uint32_t
from neat.stack.tcp.commands cimport tcp_drop
from neat.stack.tcp.isn cimport isn_create
from neat.stack.tcp.listen cimport listen_create, listen_detach
from neat.stack.tcp.ports cimport ports_create
from neat.stack.tcp.state cimport TcpState
from neat.stack.tcp.timewait cimport wait_create
from neat.stack.tcp.types cimport NO_INDEX, Tcb, TcpPrivate
from neat.stack.types cimport Channel, Stack

@cython.locals(tcp="TcpPrivate*", buckets=uint32_t, i=uint32_t)
cdef int tcp_create(Stack* stack) noexcept nogil
cdef void tcp_destroy(Stack* stack) noexcept nogil
# Reset every connection of a channel whose memory goes, and close its listeners.
@cython.locals(i=uint32_t, tcb="Tcb*")
cdef void tcp_detach(Stack* stack, Channel* channel) noexcept nogil
