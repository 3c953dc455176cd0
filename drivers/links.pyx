"""Links. A replica that breaks the contract of a ring loses its own link, and nobody else notices.

A broken link stays dead until the supervisor has replaced the replica and bumped the slot's epoch. Then
both rings start empty, from positions that only the driver knows: what the rings themselves say cannot be
trusted any more.
"""

from libc.stdint cimport uint32_t, uint64_t
from neat.drivers.flows cimport flows_check, flows_of, flows_take_counts
from neat.drivers.state cimport Driver, Port
from neat.drivers.steer cimport steer_follow
from neat.shm.atomic cimport load32, store64
from neat.shm.board cimport board_count
from neat.shm.counters cimport DRVREP_BROKEN, DRVREP_FLOWS, DRV_DOORBELLS, DRV_RINGS_MENDED, DRV_RING_BROKEN
from neat.shm.doorbell cimport doorbell_ring
from neat.shm.ring cimport (
    RECORD_ALIGN, Ring, ring_attach_consumer, ring_attach_producer, ring_cancel_sleep, ring_prepare_sleep,
    ring_publish,
)


cdef void port_attach(
    Driver* driver, uint32_t k, void* rx, void* tx, uint64_t capacity, int bell
) noexcept nogil:
    cdef Port* port = &driver.port[k]
    port.bell = bell
    port.attached = True
    port.epoch = load32(&driver.steering.header.slots[k].epoch)
    if ring_attach_producer(&port.rx, rx, capacity) < 0:
        port.rx.broken = True
    if ring_attach_consumer(&port.tx, tx, capacity) < 0:
        port.tx.broken = True
    # The predecessor may have died between publish and ring.
    port_wake(driver, k)


cdef void port_wake(Driver* driver, uint32_t k) noexcept nogil:
    doorbell_ring(driver.port[k].bell)
    board_count(driver.page, DRV_DOORBELLS, 1)


cdef void ports_publish(Driver* driver) noexcept nogil:
    cdef uint32_t k
    for k in range(driver.ports):
        if driver.touched & (1 << k) and ring_publish(&driver.port[k].rx):
            port_wake(driver, k)
    driver.touched = 0


cdef void ports_check(Driver* driver) noexcept nogil:
    cdef uint32_t k
    cdef Port* port
    for k in range(driver.ports):
        port = &driver.port[k]
        if port.attached and not port.broken and (port.rx.broken or port.tx.broken):
            port.broken = True
            board_count(driver.page, DRV_RING_BROKEN, 1)
            port_counter(driver, k, DRVREP_BROKEN)[0] = 1


cdef void ports_follow_steering(Driver* driver) noexcept nogil:
    cdef uint32_t k, epoch
    cdef uint32_t version = load32(&driver.steering.header.version)
    if version == driver.version:
        return
    driver.version = version
    steer_follow(&driver.steering)
    cdef bint changed = False
    for k in range(driver.ports):
        epoch = load32(&driver.steering.header.slots[k].epoch)
        if epoch == driver.port[k].epoch:
            continue
        driver.port[k].epoch = epoch
        changed = True
        if driver.port[k].broken:
            port_mend(driver, k)
    if changed:
        flows_check(&driver.steering.flows)


cdef void port_mend(Driver* driver, uint32_t k) noexcept nogil:
    cdef Port* port = &driver.port[k]
    ring_empty(&port.rx)
    ring_empty(&port.tx)
    port.broken = False
    driver.touched &= ~<uint32_t>(1 << k)
    board_count(driver.page, DRV_RINGS_MENDED, 1)
    port_counter(driver, k, DRVREP_BROKEN)[0] = 0


cdef void ring_empty(Ring* ring) noexcept nogil:
    cdef uint64_t position = ring.local & ~<uint64_t>(RECORD_ALIGN - 1)
    store64(&ring.shared.head, position)
    store64(&ring.shared.tail, position)
    ring.local = position
    ring.remote = position
    ring.broken = False


cdef void ports_report(Driver* driver) noexcept nogil:
    cdef uint32_t k
    flows_take_counts(&driver.steering.flows)
    for k in range(driver.ports):
        port_counter(driver, k, DRVREP_FLOWS)[0] = flows_of(&driver.steering.flows, k)


cdef bint ports_prepare_sleep(Driver* driver) noexcept nogil:
    cdef uint32_t k
    for k in range(driver.ports):
        if driver.port[k].attached and not ring_prepare_sleep(&driver.port[k].tx):
            ports_cancel_sleep(driver)
            return False
    return True


cdef void ports_cancel_sleep(Driver* driver) noexcept nogil:
    cdef uint32_t k
    for k in range(driver.ports):
        if driver.port[k].attached:
            ring_cancel_sleep(&driver.port[k].tx)
