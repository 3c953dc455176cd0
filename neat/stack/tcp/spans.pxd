"""Scatter and gather: long text need not be copied between a frame and its socket's ring.

Out, the frame's headers are written and its text stays where it lies (`gather_text`). In, the caller reads
the next frame with its text into the ring of the flow whose long text came last; whether that was the right
one is seen afterwards."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.stack.config cimport Guess, Span
from neat.stack.tcp.segment cimport Segment
from neat.stack.tcp.types cimport Tcb
from neat.stack.packet cimport Packet
from neat.stack.types cimport Stack

cdef enum:
    LONG_TEXT = 4096                # bytes; below, a copy costs less than another piece of a vector

# The bytes offset .. offset + length of a ring, in one or two pieces.
cdef void ring_spans(
    uint8_t* ring, uint32_t size, uint64_t offset, uint32_t length, Span* spans
) noexcept nogil

# Leave the text of a frame where it lies; False: it is to be copied.
cdef bint gather_text(Stack* stack, Tcb* tcb, uint64_t offset, uint32_t length) noexcept nogil

# Text came: the next of this flow is expected where this one ended, if it is long.
cdef void text_came(Stack* stack, Tcb* tcb, const Packet* packet, const Segment* seg) noexcept nogil

cdef bint guess_next(Stack* stack, Guess* guess) noexcept nogil
cdef bint guess_of(
    Stack* stack, uint32_t conn, uint64_t offset, uint32_t room, Guess* guess
) noexcept nogil
cdef bint is_guessed(Stack* stack, const Guess* guess, const uint8_t* record, uint32_t length) noexcept nogil
