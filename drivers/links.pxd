"""The driver's ends of the links: taking them up, waking replicas, and mending a link after its replica broke
it."""

from libc.stdint cimport uint32_t, uint64_t
from neat.drivers.state cimport Driver
from neat.shm.counters cimport DRIVER_REPLICAS, DRIVER_REPLICA_STRIDE

# A counter of port k (DriverReplicaCounter).
cdef inline uint64_t* port_counter(Driver* driver, uint32_t k, uint32_t counter) noexcept nogil:
    return &driver.page.counters[DRIVER_REPLICAS + k * DRIVER_REPLICA_STRIDE + counter]

# Take up link k where the predecessor left it. A ring that makes no sense counts as broken.
cdef void port_attach(
    Driver* driver, uint32_t k, void* rx, void* tx, uint64_t capacity, int bell
) noexcept nogil
cdef void port_wake(Driver* driver, uint32_t k) noexcept nogil
# Make what was put into the receive rings visible, and wake the replicas that sleep.
cdef void ports_publish(Driver* driver) noexcept nogil
# Count rings that broke, for the supervisor to see (DRVREP_BROKEN).
cdef void ports_check(Driver* driver) noexcept nogil
# The supervisor changed the steering segment: a slot with a new epoch has lost its flows, and its link is
# mended if it was broken.
cdef void ports_follow_steering(Driver* driver) noexcept nogil
cdef void ports_report(Driver* driver) noexcept nogil       # gauges, and what the program has counted
# Set the sleeping flags. False, with none set, when there is something to transmit.
cdef bint ports_prepare_sleep(Driver* driver) noexcept nogil
cdef void ports_cancel_sleep(Driver* driver) noexcept nogil
