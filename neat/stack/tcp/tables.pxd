"""TCP's private memory: made at birth, freed at the end; and what concerns all connections of a channel."""

from neat.stack.types cimport Channel, Stack

cdef int tcp_create(Stack* stack) noexcept nogil
cdef void tcp_destroy(Stack* stack) noexcept nogil
# Reset every connection of a channel whose memory goes, and close its listeners.
cdef void tcp_detach(Stack* stack, Channel* channel) noexcept nogil
