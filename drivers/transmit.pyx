"""Transmitting: a record's payload is just what the device takes, so one write takes it out of the ring.

A frame to the stack's own MAC address never reaches the device: it is steered as one that arrives, and copied
into the receive ring of its replica. A full ring loses it, as a device's queue would: nobody waits.
"""

from libc.errno cimport EAGAIN, EBADFD, EIO, ENOBUFS, ENOMEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy
from neat.drivers.classify cimport ETHERNET_BYTES, Packet, classify_record
from neat.drivers.links cimport port_counter, port_wake, ports_publish
from neat.drivers.state cimport Driver, Port, write_device
from neat.drivers.steer cimport (
    STEER_ALL, STEER_DROP, steer_add, steer_arrival, steer_delete, steer_departure, steer_fade,
)
from neat.shm.board cimport board_count
from neat.shm.counters cimport (
    DRVREP_RX_BYTES, DRVREP_RX_DROPS, DRVREP_RX_FRAMES, DRVREP_TX_BYTES, DRVREP_TX_DROPS, DRVREP_TX_FRAMES,
    DRV_DROP_BAD_RECORD, DRV_DROP_DEVICE_DOWN, DRV_DROP_NOT_IP, DRV_DROP_NO_BUFFER, DRV_DROP_RING_FULL,
    DRV_DROP_SLOT_INACTIVE, DRV_DROP_TAP_WRITE, DRV_LOOPED_BYTES, DRV_LOOPED_FRAMES, DRV_TX_BYTES,
    DRV_TX_FRAMES,
)
from neat.shm.ring cimport (
    BURST_BYTES, MAX_RECORD, RECORD_FLOW_ADD, RECORD_FLOW_DELETE, RECORD_FLOW_FADES, RECORD_FRAME,
    RECORD_OWN_FRAME, RecordHeader, record_payload, ring_advance, ring_peek, ring_push, ring_release,
)
from neat.wire.flow cimport FlowKey
from neat.wire.vnet cimport VNET_BYTES

cdef enum:
    TX_BURST = 32                   # records of each replica, or BURST_BYTES


cdef uint32_t transmit_burst(Driver* driver) noexcept nogil:
    """The replica that comes first changes each turn."""
    cdef uint32_t i
    cdef uint32_t records = 0
    for i in range(driver.ports):
        records += transmit_port(driver, (driver.first + i) % driver.ports)
    driver.first += 1
    if driver.touched:
        ports_publish(driver)
    return records


cdef uint32_t transmit_port(Driver* driver, uint32_t k) noexcept nogil:
    cdef Port* port = &driver.port[k]
    if not port.attached:
        return 0
    cdef RecordHeader* record = ring_peek(&port.tx)
    if record == NULL:
        return 0
    cdef bint crowded = port.tx.remote - port.tx.local > port.tx.capacity >> 1
    cdef uint32_t records = 0
    cdef uint32_t moved = 0
    while record != NULL:
        moved += record.length
        transmit_record(driver, k, record_payload(record), record.length, record.type)
        ring_advance(&port.tx)
        records += 1
        if records == TX_BURST or moved >= BURST_BYTES:
            break
        record = ring_peek(&port.tx)
    ring_release(&port.tx)
    # A replica that found no room sleeps until something happens: this is something.
    if crowded:
        port_wake(driver, k)
    return records


cdef void transmit_record(
    Driver* driver, uint32_t k, uint8_t* payload, uint32_t length, uint16_t type
) noexcept nogil:
    if type == RECORD_FRAME and VNET_BYTES + ETHERNET_BYTES <= length < MAX_RECORD:
        transmit_frame(driver, k, payload, length)
    elif type in (RECORD_FLOW_ADD, RECORD_FLOW_FADES, RECORD_FLOW_DELETE) and length == sizeof(FlowKey):
        flow_record(driver, k, payload, length, type)
    else:
        drop(driver, k, DRV_DROP_BAD_RECORD)


cdef void transmit_frame(Driver* driver, uint32_t k, uint8_t* record, uint32_t length) noexcept nogil:
    """Whether the virtio-net header fits the frame is checked by the kernel, on its own copy."""
    cdef Packet packet
    classify_record(record, length, True, &packet)
    steer_departure(&driver.steering, &packet, k)
    if memcmp(record + VNET_BYTES, driver.mac, 6) == 0:
        loop_frame(driver, k, record, length)
        return
    cdef int done = write_device(driver.tap, record, length)
    if done >= 0:
        board_count(driver.page, DRV_TX_FRAMES, 1)
        board_count(driver.page, DRV_TX_BYTES, length - VNET_BYTES)
        port_counter(driver, k, DRVREP_TX_FRAMES)[0] += 1
        port_counter(driver, k, DRVREP_TX_BYTES)[0] += length - VNET_BYTES
    elif done in (-EAGAIN, -ENOBUFS, -ENOMEM):
        drop(driver, k, DRV_DROP_NO_BUFFER)
    elif done == -EIO:
        drop(driver, k, DRV_DROP_DEVICE_DOWN)
    else:
        if done == -EBADFD:
            driver.failure = EBADFD
        drop(driver, k, DRV_DROP_TAP_WRITE)


cdef void loop_frame(Driver* driver, uint32_t k, uint8_t* record, uint32_t length) noexcept nogil:
    """Steered by what it is to its receiver: the other end's tuple, which is another flow."""
    cdef Packet packet
    classify_record(record, length, False, &packet)
    cdef int to = steer_arrival(&driver.steering, &packet)
    if to == STEER_DROP:
        port_counter(driver, k, DRVREP_TX_DROPS)[0] += 1
        return
    if to == STEER_ALL:
        # News of neighbours comes from the wire.
        drop(driver, k, DRV_DROP_NOT_IP)
        return
    if <uint32_t>to >= driver.ports or not driver.port[to].attached:
        drop(driver, k, DRV_DROP_SLOT_INACTIVE)
        return
    cdef Port* port = &driver.port[to]
    port_counter(driver, k, DRVREP_TX_FRAMES)[0] += 1
    port_counter(driver, k, DRVREP_TX_BYTES)[0] += length - VNET_BYTES
    if ring_push(&port.rx, record, length, RECORD_OWN_FRAME, driver.now) < 0:
        board_count(driver.page, DRV_DROP_RING_FULL, 1)
        port_counter(driver, to, DRVREP_RX_DROPS)[0] += 1
        return
    driver.touched |= <uint32_t>(1 << to)
    board_count(driver.page, DRV_LOOPED_FRAMES, 1)
    board_count(driver.page, DRV_LOOPED_BYTES, length - VNET_BYTES)
    port_counter(driver, to, DRVREP_RX_FRAMES)[0] += 1
    port_counter(driver, to, DRVREP_RX_BYTES)[0] += length - VNET_BYTES


cdef void flow_record(
    Driver* driver, uint32_t k, uint8_t* payload, uint32_t length, uint16_t type
) noexcept nogil:
    """The key is copied before it is looked at."""
    cdef FlowKey key
    cdef int done
    memcpy(&key, payload, sizeof(FlowKey))
    if type == RECORD_FLOW_ADD:
        done = steer_add(&driver.steering, &key, k)
    elif type == RECORD_FLOW_FADES:
        done = steer_fade(&driver.steering, &key, k)
    else:
        done = steer_delete(&driver.steering, &key, k)
    if done < 0:
        drop(driver, k, DRV_DROP_BAD_RECORD)


cdef void drop(Driver* driver, uint32_t k, uint32_t reason) noexcept nogil:
    board_count(driver.page, reason, 1)
    port_counter(driver, k, DRVREP_TX_DROPS)[0] += 1
