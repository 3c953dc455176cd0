"""TIME_WAIT in a compact table of its own (RFC 9293 §3.6.1, RFC 6191). No slot and no socket is held.

FIN_WAIT_2 of a closed descriptor waits here too. All wait for the same time, so the list by deadline is a
FIFO; when the table is full the oldest makes room."""

from libc.stdint cimport uint32_t, uint64_t
from neat.stack.packet cimport Packet
from neat.stack.state cimport WaitSlot
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.types cimport Stack

cdef int wait_create(Stack* stack) noexcept nogil
# The connection goes on in the table, in TIME_WAIT or FIN_WAIT_2, and is over for everyone else. ack: answer
# its FIN.
cdef void wait_enter(Stack* stack, Tcb* tcb, uint32_t state, bint ack) noexcept nogil
# A segment for it. True: it is a new SYN, go on as in LISTEN; what is born there takes the entry's place.
cdef bint wait_input(Stack* stack, uint32_t index, Packet* packet, Segment* seg) noexcept nogil
# May a connection that we open ourselves take the place of this one?
cdef bint wait_gives_way(Stack* stack, uint32_t index) noexcept nogil
# It has: the entry is gone. The driver goes on knowing whose flow it is.
cdef void wait_replace(Stack* stack, uint32_t index) noexcept nogil
# Go on with the entries that a predecessor left. -ENOMEM.
cdef int wait_recover(Stack* stack) noexcept nogil
# Go on with an entry of another replica's table, for a whole 2 MSL; it may be any bytes, and is left out when
# it makes no sense, or a connection has its key. One that is here already is said to the driver again. False:
# come again when more has been transmitted.
cdef bint wait_adopt(Stack* stack, const WaitSlot* other) noexcept nogil
cdef void wait_expire(Stack* stack) noexcept nogil
cdef uint64_t wait_next_deadline(Stack* stack) noexcept nogil
