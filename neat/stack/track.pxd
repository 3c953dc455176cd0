"""Flows of UDP, for a filter that asks for a connection's state. (TCP needs none of this: its connections are
their own memory.)

Each replica writes a table of its own; it reads the others', as the answer to a datagram comes to the
replica that its hash says, which need not be the one that has sent it. A reader may meet an entry that is
being written: it misses it, or takes what it says of another flow's state for one packet; it is never led out
of the table."""

from libc.stdint cimport uint16_t, uint32_t
from neat.stack.types cimport Stack

# STATE_NEW or STATE_ESTABLISHED of a datagram. remote: as on the wire; ports
# in host order.
cdef uint32_t track_state(
    Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port, bint inbound
) noexcept nogil
cdef bint track_knows(
    Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port
) noexcept nogil
# A datagram that was let through.
cdef void track_passed(
    Stack* stack, uint32_t remote, uint16_t remote_port, uint16_t local_port, bint inbound
) noexcept nogil
