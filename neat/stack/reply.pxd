"""Bounded queue of small frames which belong to no connection: RSTs to strangers, ARP, ICMP. Full: dropped
and counted."""

from libc.stdint cimport uint8_t, uint32_t
from neat.stack.types cimport Stack

# Room for one record of at most REPLY_BYTES - 4 bytes (vnet header first, zeroed). NULL when the queue is
# full (counted).
cdef uint8_t* reply_reserve(Stack* stack) noexcept nogil
# Queue what was reserved last. A reservation that is not committed is simply taken again.
cdef void reply_commit(Stack* stack, uint32_t length) noexcept nogil
# Move the oldest into `buffer`. Returns its length, 0 when there is none.
cdef uint32_t reply_poll(Stack* stack, uint8_t* buffer) noexcept nogil
