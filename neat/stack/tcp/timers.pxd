"""What a connection does when one of its timers fires (RFC 6298 §5, RFC 9293 §3.8.6.1, §3.8.4)."""

from libc.stdint cimport uint64_t
from neat.stack.types cimport Stack

cdef void tcp_expire(Stack* stack) noexcept nogil
cdef uint64_t tcp_next_deadline(Stack* stack) noexcept nogil
