"""What the application asks of a connection: its lines of the socket object, each value checked before it is
used."""

from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

# Its dirty bit was set: look at everything that the application may have changed.
cdef void tcp_command(Stack* stack, Tcb* tcb) noexcept nogil
# The last descriptor is closed, as with close() on Linux.
cdef void tcp_close(Stack* stack, Tcb* tcb) noexcept nogil
# No more text from us: a FIN after what is in the ring (RFC 9293 §3.10.4).
cdef void finish_sending(Stack* stack, Tcb* tcb) noexcept nogil
# Reset it and free it, without a word to the application (whose channel may be gone).
cdef void tcp_drop(Stack* stack, Tcb* tcb) noexcept nogil
