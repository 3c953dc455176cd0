"""A door for tests: a segment that kills the replica which gets it.

It is shut unless the stack's owner opens it (the setting `poison`). The option is one for experiments: kind
253 (RFC 4727 §5), an experiment identifier of 32 bits (RFC 6994 §3), then what it is to do."""

from libc.stdint cimport uint8_t

cdef enum:
    POISON_OPTION = 253
    POISON_BYTES = 7                # kind, length, identifier, deed
    POISON_ABORT = 1
    POISON_SPIN = 2

cdef inline uint8_t poison_deed(const uint8_t* option) noexcept nogil:
    """0: it is another experiment."""
    cdef bint ours = (
        option[2] == b"N" and option[3] == b"E" and option[4] == b"a" and option[5] == b"T"
    )
    return option[6] if ours else 0

cdef void poison_acts(uint8_t deed) noexcept nogil
