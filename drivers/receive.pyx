"""Receiving: straight into the ring of the replica that got the previous frame; the rest is copied."""

from libc.errno cimport EAGAIN
from libc.stdint cimport uint8_t, uint32_t
from neat.drivers.classify cimport ETHERNET_BYTES, Packet, classify_record
from neat.drivers.links cimport port_counter, ports_publish
from neat.drivers.state cimport Driver, Port, read_device
from neat.drivers.steer cimport STEER_ALL, slot_open, steer_arrival
from neat.shm.board cimport board_count
from neat.shm.counters cimport (
    DRVREP_RX_BYTES, DRVREP_RX_DROPS, DRVREP_RX_FRAMES, DRV_DROP_RING_FULL, DRV_DROP_RUNT,
    DRV_DROP_SLOT_INACTIVE, DRV_DROP_TRUNCATED, DRV_RX_BYTES, DRV_RX_FRAMES, DRV_STEER_MISSED,
)
from neat.shm.ring cimport BURST_BYTES, MAX_RECORD, RECORD_FRAME, ring_commit, ring_push, ring_reserve
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    RX_BURST = 64                   # frames, or BURST_BYTES


cdef uint32_t receive_burst(Driver* driver) noexcept nogil:
    cdef uint32_t length
    cdef uint32_t frames = 0
    cdef uint32_t moved = 0
    while frames < RX_BURST and moved < BURST_BYTES:
        length = receive_frame(driver)
        if length == 0:
            break
        frames += 1
        moved += length
    if driver.touched:
        ports_publish(driver)
    return frames


cdef uint32_t receive_frame(Driver* driver) noexcept nogil:
    """One frame: its length, 0 when there is none. A ring without room stalls nobody else: the frame goes
    through private memory, and is lost only if it is for that ring."""
    cdef Packet packet
    cdef uint8_t* room = ring_reserve(&driver.port[driver.guess].rx, MAX_RECORD)
    cdef uint8_t* record = room if room != NULL else driver.scratch
    cdef int length = read_device(driver.tap, record, MAX_RECORD)
    if length < 0:
        driver.tap_ready = False
        if length != -EAGAIN:
            driver.failure = -length
        return 0
    board_count(driver.page, DRV_RX_FRAMES, 1)
    if length < VNET_BYTES + ETHERNET_BYTES or length >= MAX_RECORD:
        board_count(driver.page, DRV_DROP_RUNT if length < MAX_RECORD else DRV_DROP_TRUNCATED, 1)
        return max(length, 1)
    board_count(driver.page, DRV_RX_BYTES, length - VNET_BYTES)
    classify_record(record, length, False, &packet)
    cdef int to = steer_arrival(&driver.steering, &packet)
    deliver(driver, record, length, to, room != NULL)
    return length


cdef void deliver(
    Driver* driver, uint8_t* record, uint32_t length, int replica, bint in_place
) noexcept nogil:
    """in_place: the record lies in reserved room of the ring of driver.guess. Copies for others are made
    first."""
    cdef uint32_t k
    cdef uint32_t guess = driver.guess
    if replica >= 0:
        deliver_to(driver, record, length, replica, in_place and <uint32_t>replica == guess)
        return
    if replica != STEER_ALL:
        return
    for k in range(driver.ports):
        if k != guess and slot_open(&driver.steering, k):
            deliver_to(driver, record, length, k, False)
    if slot_open(&driver.steering, guess):
        deliver_to(driver, record, length, guess, in_place)


cdef void deliver_to(
    Driver* driver, uint8_t* record, uint32_t length, uint32_t k, bint in_place
) noexcept nogil:
    if k >= driver.ports or not driver.port[k].attached:
        board_count(driver.page, DRV_DROP_SLOT_INACTIVE, 1)
        return
    cdef Port* port = &driver.port[k]
    if in_place:
        ring_commit(&port.rx, length, RECORD_FRAME, driver.now)
    else:
        board_count(driver.page, DRV_STEER_MISSED, 1)
        driver.guess = k
        if ring_push(&port.rx, record, length, RECORD_FRAME, driver.now) < 0:
            board_count(driver.page, DRV_DROP_RING_FULL, 1)
            port_counter(driver, k, DRVREP_RX_DROPS)[0] += 1
            return
    driver.touched |= <uint32_t>(1 << k)
    port_counter(driver, k, DRVREP_RX_FRAMES)[0] += 1
    port_counter(driver, k, DRVREP_RX_BYTES)[0] += length - VNET_BYTES
