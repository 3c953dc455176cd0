# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Transmitting: a record's payload is just what the device takes, so one write takes it out of the ring.

A frame to the stack's own MAC address never reaches the device: it is steered as one that arrives, and copied
into the receive ring of its replica. A full ring loses it, as a device's queue would: nobody waits.
"""

import cython
from cython.cimports.libc.string import memcmp, memcpy


@cython.locals(records=cython.uint, i=cython.uint)
def transmit_burst(driver):
    """The replica that comes first changes each turn."""
    records = 0
    for i in range(driver.ports):
        records += transmit_port(driver, (driver.first + i) % driver.ports)
    driver.first += 1
    if driver.touched:
        ports_publish(driver)
    return records


@cython.locals(port="Port*", record="RecordHeader*", crowded=cython.bint)
@cython.locals(records=cython.uint, moved=cython.uint)
def transmit_port(driver, k):
    port = cython.address(driver.port[k])
    if not port.attached:
        return 0
    record = ring_peek(cython.address(port.tx))
    if record == cython.NULL:
        return 0
    crowded = port.tx.remote - port.tx.local > port.tx.capacity >> 1
    records = 0
    moved = 0
    while record != cython.NULL:
        moved += record.length
        transmit_record(driver, k, record_payload(record), record.length, record.type)
        ring_advance(cython.address(port.tx))
        records += 1
        if records == TX_BURST or moved >= BURST_BYTES:
            break
        record = ring_peek(cython.address(port.tx))
    ring_release(cython.address(port.tx))
    # A replica that found no room sleeps until something happens: this is something.
    if crowded:
        port_wake(driver, k)
    return records


def transmit_record(driver, k, payload, length, type):
    if type == RECORD_FRAME and VNET_BYTES + ETHERNET_BYTES <= length < MAX_RECORD:
        transmit_frame(driver, k, payload, length)
    elif type in (RECORD_FLOW_ADD, RECORD_FLOW_FADES, RECORD_FLOW_DELETE) and length == cython.sizeof(
        FlowKey
    ):
        flow_record(driver, k, payload, length, type)
    else:
        drop(driver, k, DRV_DROP_BAD_RECORD)


@cython.locals(packet=Packet, done=cython.int)
def transmit_frame(driver, k, record, length):
    """Whether the virtio-net header fits the frame is checked by the kernel, on its own copy."""
    classify_record(record, length, True, cython.address(packet))
    steer_departure(cython.address(driver.steering), cython.address(packet), k)
    if memcmp(record + VNET_BYTES, driver.mac, 6) == 0:
        loop_frame(driver, k, record, length)
        return
    done = write_device(driver.tap, record, length)
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


@cython.locals(packet=Packet, to=cython.int, port="Port*")
def loop_frame(driver, k, record, length):
    """Steered by what it is to its receiver: the other end's tuple, which is another flow."""
    classify_record(record, length, False, cython.address(packet))
    to = steer_arrival(cython.address(driver.steering), cython.address(packet))
    if to == STEER_DROP:
        port_counter(driver, k, DRVREP_TX_DROPS)[0] += 1
        return
    if to == STEER_ALL:
        # News of neighbours comes from the wire.
        drop(driver, k, DRV_DROP_NOT_IP)
        return
    if cython.cast(cython.uint, to) >= driver.ports or not driver.port[to].attached:
        drop(driver, k, DRV_DROP_SLOT_INACTIVE)
        return
    port = cython.address(driver.port[to])
    port_counter(driver, k, DRVREP_TX_FRAMES)[0] += 1
    port_counter(driver, k, DRVREP_TX_BYTES)[0] += length - VNET_BYTES
    if ring_push(cython.address(port.rx), record, length, RECORD_OWN_FRAME, driver.now) < 0:
        board_count(driver.page, DRV_DROP_RING_FULL, 1)
        port_counter(driver, to, DRVREP_RX_DROPS)[0] += 1
        return
    driver.touched |= cython.cast(cython.uint, 1 << to)
    board_count(driver.page, DRV_LOOPED_FRAMES, 1)
    board_count(driver.page, DRV_LOOPED_BYTES, length - VNET_BYTES)
    port_counter(driver, to, DRVREP_RX_FRAMES)[0] += 1
    port_counter(driver, to, DRVREP_RX_BYTES)[0] += length - VNET_BYTES


@cython.locals(key=FlowKey, done=cython.int)
def flow_record(driver, k, payload, length, type):
    """The key is copied before it is looked at."""
    memcpy(cython.address(key), payload, cython.sizeof(FlowKey))
    if type == RECORD_FLOW_ADD:
        done = steer_add(cython.address(driver.steering), cython.address(key), k)
    elif type == RECORD_FLOW_FADES:
        done = steer_fade(cython.address(driver.steering), cython.address(key), k)
    else:
        done = steer_delete(cython.address(driver.steering), cython.address(key), k)
    if done < 0:
        drop(driver, k, DRV_DROP_BAD_RECORD)


def drop(driver, k, reason):
    board_count(driver.page, reason, 1)
    port_counter(driver, k, DRVREP_TX_DROPS)[0] += 1
