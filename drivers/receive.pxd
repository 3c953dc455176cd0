"""From the device into the receive rings."""

from libc.stdint cimport uint32_t
from neat.drivers.state cimport Driver

# A bounded burst, then wake the replicas that sleep. Returns how many frames there were.
cdef uint32_t receive_burst(Driver* driver) noexcept nogil
