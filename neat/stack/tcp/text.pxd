"""Text and FIN of a segment (RFC 9293 §3.10.7.4, seventh and eighth), and when to acknowledge (RFC 5681
§4.2)."""

from neat.stack.packet cimport Packet
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

cdef enum:
    MAX_ACKS_OWED = 64

cdef inline void owe_ack(Tcb* tcb) noexcept nogil:
    if tcb.ack_owed == 0:
        tcb.ack_owed = 1

# One more, even if one is owed already: the sender counts duplicates.
cdef inline void owe_duplicate(Tcb* tcb) noexcept nogil:
    if tcb.ack_owed < MAX_ACKS_OWED:
        tcb.ack_owed += 1

# Both return False when the connection is gone: nothing may be done with it then.
cdef bint process_text(Stack* stack, Tcb* tcb, Packet* packet, Segment* seg) noexcept nogil
cdef bint check_fin(Stack* stack, Tcb* tcb, Segment* seg) noexcept nogil
