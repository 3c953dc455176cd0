"""From the transmit rings to the device, and what replicas say about their flows."""

from libc.stdint cimport uint32_t
from neat.drivers.state cimport Driver

# A bounded burst of each transmit ring. Returns how many records there were.
cdef uint32_t transmit_burst(Driver* driver) noexcept nogil
