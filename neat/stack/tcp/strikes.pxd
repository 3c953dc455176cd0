"""Connections that kill their replica: three strikes, and one is reset."""

from libc.stdint cimport uint32_t
from neat.stack.types cimport Stack

cdef enum:
    STRIKES = 3

# The predecessor died of its own doing while it had this connection in its hands: a frame, a command or a
# timer of it. True: it was the last time, and the connection is reset, at once or by the recovery that comes.
# conn: any number.
cdef bint tcp_strike(Stack* stack, uint32_t conn) noexcept nogil
