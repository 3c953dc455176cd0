# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Receiving: straight into the ring of the replica that got the previous frame; the rest is copied."""

import cython


@cython.locals(frames=cython.uint, moved=cython.uint, length=cython.uint)
def receive_burst(driver):
    frames = 0
    moved = 0
    while frames < RX_BURST and moved < BURST_BYTES:
        length = receive_frame(driver)
        if length == 0:
            break
        frames += 1
        moved += length
    if driver.touched:
        ports_publish(driver)
    return frames


@cython.locals(record="uint8_t*", room="uint8_t*", length=cython.int, packet=Packet, to=cython.int)
def receive_frame(driver):
    """One frame: its length, 0 when there is none. A ring without room stalls nobody else: the frame goes
    through private memory, and is lost only if it is for that ring."""
    room = ring_reserve(cython.address(driver.port[driver.guess].rx), MAX_RECORD)
    record = room if room != cython.NULL else driver.scratch
    length = read_device(driver.tap, record, MAX_RECORD)
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
    classify_record(record, length, False, cython.address(packet))
    to = steer_arrival(cython.address(driver.steering), cython.address(packet))
    deliver(driver, record, length, to, room != cython.NULL)
    return length


@cython.locals(k=cython.uint, guess=cython.uint)
def deliver(driver, record, length, replica, in_place):
    """in_place: the record lies in reserved room of the ring of driver.guess. Copies for others are made
    first."""
    guess = driver.guess
    if replica >= 0:
        deliver_to(driver, record, length, replica, in_place and cython.cast(cython.uint, replica) == guess)
        return
    if replica != STEER_ALL:
        return
    for k in range(driver.ports):
        if k != guess and slot_open(cython.address(driver.steering), k):
            deliver_to(driver, record, length, k, False)
    if slot_open(cython.address(driver.steering), guess):
        deliver_to(driver, record, length, guess, in_place)


@cython.locals(port="Port*")
def deliver_to(driver, record, length, k, in_place):
    if k >= driver.ports or not driver.port[k].attached:
        board_count(driver.page, DRV_DROP_SLOT_INACTIVE, 1)
        return
    port = cython.address(driver.port[k])
    if in_place:
        ring_commit(cython.address(port.rx), length, RECORD_FRAME, driver.now)
    else:
        board_count(driver.page, DRV_STEER_MISSED, 1)
        driver.guess = k
        if ring_push(cython.address(port.rx), record, length, RECORD_FRAME, driver.now) < 0:
            board_count(driver.page, DRV_DROP_RING_FULL, 1)
            port_counter(driver, k, DRVREP_RX_DROPS)[0] += 1
            return
    driver.touched |= cython.cast(cython.uint, 1 << k)
    port_counter(driver, k, DRVREP_RX_FRAMES)[0] += 1
    port_counter(driver, k, DRVREP_RX_BYTES)[0] += length - VNET_BYTES
