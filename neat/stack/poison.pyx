"""What a poisoned segment does."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport abort


cdef void poison_acts(uint8_t deed) noexcept nogil:
    if deed == POISON_ABORT:
        abort()
    while deed == POISON_SPIN:
        pass
