"""TCP segments in: find the connection, then RFC 9293 §3.10.7 step by step, one function a step, in its
order."""

from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack

cdef void tcp_input(Stack* stack, Packet* packet) noexcept nogil
