"""The ACK field of a segment (RFC 9293 §3.10.7.4, fifth): what it acknowledges, the send window, and where it
leads."""

from neat.stack.packet cimport Packet
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

# False: the segment is done with, or the connection is gone.
cdef bint check_ack(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil
# Our SYN is acknowledged: to ESTABLISHED. False when the application has no socket left for it.
cdef bint establish(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
cdef bint is_writable(Tcb* tcb) noexcept nogil
# RFC 5961 §7: at most ten challenge ACKs a second for a connection.
cdef void challenge(Stack* stack, Tcb* tcb) noexcept nogil
