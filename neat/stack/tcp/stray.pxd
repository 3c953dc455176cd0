"""Connections that are lost on our side while their peers believe in them."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.types cimport Stack

# The driver says that the replica which had this connection has lost it: the peer is made to say something,
# which draws a RST. payload: a FlowKey, any bytes at all.
cdef void stray_lost(Stack* stack, const uint8_t* payload, uint32_t length) noexcept nogil
