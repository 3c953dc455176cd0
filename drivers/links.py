# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Links. A replica that breaks the contract of a ring loses its own link, and nobody else notices.

A broken link stays dead until the supervisor has replaced the replica and bumped the slot's epoch. Then
both rings start empty, from positions that only the driver knows: what the rings themselves say cannot be
trusted any more.
"""

import cython


@cython.locals(port="Port*")
def port_attach(driver, k, rx, tx, capacity, bell):
    port = cython.address(driver.port[k])
    port.bell = bell
    port.attached = True
    port.epoch = load32(cython.address(driver.steering.header.slots[k].epoch))
    if ring_attach_producer(cython.address(port.rx), rx, capacity) < 0:
        port.rx.broken = True
    if ring_attach_consumer(cython.address(port.tx), tx, capacity) < 0:
        port.tx.broken = True
    # The predecessor may have died between publish and ring.
    port_wake(driver, k)


def port_wake(driver, k):
    doorbell_ring(driver.port[k].bell)
    board_count(driver.page, DRV_DOORBELLS, 1)


@cython.locals(k=cython.uint)
def ports_publish(driver):
    for k in range(driver.ports):
        if driver.touched & (1 << k) and ring_publish(cython.address(driver.port[k].rx)):
            port_wake(driver, k)
    driver.touched = 0


@cython.locals(k=cython.uint, port="Port*")
def ports_check(driver):
    for k in range(driver.ports):
        port = cython.address(driver.port[k])
        if port.attached and not port.broken and (port.rx.broken or port.tx.broken):
            port.broken = True
            board_count(driver.page, DRV_RING_BROKEN, 1)
            port_counter(driver, k, DRVREP_BROKEN)[0] = 1


@cython.locals(k=cython.uint, version=cython.uint, epoch=cython.uint, changed=cython.bint)
def ports_follow_steering(driver):
    version = load32(cython.address(driver.steering.header.version))
    if version == driver.version:
        return
    driver.version = version
    changed = False
    for k in range(driver.ports):
        epoch = load32(cython.address(driver.steering.header.slots[k].epoch))
        if epoch == driver.port[k].epoch:
            continue
        driver.port[k].epoch = epoch
        changed = True
        if driver.port[k].broken:
            port_mend(driver, k)
    if changed:
        flows_check(cython.address(driver.steering.flows))


@cython.locals(port="Port*")
def port_mend(driver, k):
    port = cython.address(driver.port[k])
    ring_empty(cython.address(port.rx))
    ring_empty(cython.address(port.tx))
    port.broken = False
    driver.touched &= ~cython.cast(cython.uint, 1 << k)
    board_count(driver.page, DRV_RINGS_MENDED, 1)
    port_counter(driver, k, DRVREP_BROKEN)[0] = 0


@cython.locals(position=cython.ulonglong)
def ring_empty(ring):
    position = ring.local & ~cython.cast(cython.ulonglong, RECORD_ALIGN - 1)
    store64(cython.address(ring.shared.head), position)
    store64(cython.address(ring.shared.tail), position)
    ring.local = position
    ring.remote = position
    ring.broken = False


@cython.locals(k=cython.uint)
def ports_report(driver):
    for k in range(driver.ports):
        port_counter(driver, k, DRVREP_FLOWS)[0] = driver.steering.flows.flows[k]


@cython.locals(k=cython.uint)
def ports_prepare_sleep(driver):
    for k in range(driver.ports):
        if driver.port[k].attached and not ring_prepare_sleep(cython.address(driver.port[k].tx)):
            ports_cancel_sleep(driver)
            return False
    return True


@cython.locals(k=cython.uint)
def ports_cancel_sleep(driver):
    for k in range(driver.ports):
        if driver.port[k].attached:
            ring_cancel_sleep(cython.address(driver.port[k].tx))
