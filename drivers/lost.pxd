"""The peers of lost connections are told, also those that only wait."""

from neat.drivers.state cimport Driver

# A bounded part of a pass over the flow table, if one is due. Whether it got on.
cdef bint lost_burst(Driver* driver) noexcept nogil
