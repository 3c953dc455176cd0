"""The port between IP and what stands on it where they are processes of their own: the side of IP.

A packet goes up as the record that it came in, checked; the component above checks it again, as it believes
nobody. What comes down is a whole record but for its Ethernet header, which is filled in here. A destination
MAC address that is not zero is that of a frame which this one answers: it needs no resolution."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.types cimport Stack

# neat.stack.engine: stack_forward, stack_poll_up
cdef bint forward_frame(Stack* stack, uint8_t* record, uint32_t length, uint8_t protocol) noexcept nogil
cdef uint32_t forward_poll(Stack* stack, uint8_t* buffer, uint8_t* protocol) noexcept nogil
