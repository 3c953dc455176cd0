"""Going on with what a predecessor left in the state segment and the applications' segments
(docs/contracts/state.md, "After a crash")."""

from libc.stdint cimport int32_t
from neat.stack.types cimport Stack

cdef bint has_past(Stack* stack) noexcept nogil
cdef int32_t recover(Stack* stack) noexcept nogil
