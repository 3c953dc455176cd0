"""Lost connections: a slot's epoch was bumped, and their peers know nothing of it.

The driver knows their 5-tuples, but no sequence numbers. So it hands each to the replica that would get its
segments now (RECORD_FLOW_LOST), which makes the peer say something (neat/stack/tcp/stray.pyx), and that is
answered by a RST. What the peer says comes by here and ends it (flow_heard). Frames get lost, and replicas
too: who said nothing is told again, in LOST_PASSES passes over the table. Void entries are all that this
needs to know, so a driver's successor goes on with it; and only the supervisor can make one.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from neat.drivers.flows cimport LOST_PASSES, FlowTable, flow_forget, flow_void
from neat.drivers.links cimport ports_publish
from neat.drivers.state cimport Driver
from neat.drivers.steer cimport slot_open, steer_home
from neat.shm.atomic cimport load32
from neat.shm.board cimport board_count
from neat.shm.counters cimport DRV_FLOWS_LOST
from neat.shm.ring cimport RECORD_FLOW_LOST, ring_push
from neat.shm.steering cimport FLOW_FREE, FLOW_LIVE, FlowEntry
from neat.wire.flow cimport FlowKey

cdef enum:
    # of one turn: entries that are looked at, and records
    LOOK_BURST = 1024
    TELL_BURST = 16
    # ns between the first pass and the second; four times as long each time
    FIRST_PAUSE = 250_000_000


cdef bint lost_burst(Driver* driver) noexcept nogil:
    cdef FlowEntry* entry
    cdef FlowTable* table = &driver.steering.flows
    if table.passes == 0 or driver.now < table.due:
        return False
    cdef uint32_t start = table.at
    cdef uint32_t end = min(table.at + LOOK_BURST, table.mask + 1)
    cdef uint32_t told = 0
    while table.at < end and told < TELL_BURST:
        entry = &table.entries[table.at]
        if FLOW_FREE < load32(&entry.state) <= FLOW_LIVE and flow_void(table, entry):
            if not tell(driver, &entry.key):
                break  # here it goes on as soon as there is room
            told += 1
            if table.passes == 1:
                flow_forget(table, entry)
        table.at += 1
    if told:
        if table.passes == LOST_PASSES:
            board_count(driver.page, DRV_FLOWS_LOST, told)
        ports_publish(driver)
    if table.at > table.mask:
        pass_ends(table)
    return table.at != start


cdef void pass_ends(FlowTable* table) noexcept nogil:
    cdef uint64_t pause = FIRST_PAUSE
    pause <<= 2 * (LOST_PASSES - table.passes)
    table.passes -= 1
    table.at = 0
    table.due = table.now + pause


cdef bint tell(Driver* driver, const FlowKey* key) noexcept nogil:
    """False: its replica has no room, or there is none."""
    cdef uint32_t k = steer_home(&driver.steering, key, True)
    if k >= driver.ports or not driver.port[k].attached or not slot_open(&driver.steering, k):
        return False
    if ring_push(&driver.port[k].rx, <const uint8_t*>key, sizeof(FlowKey), RECORD_FLOW_LOST, driver.now) < 0:
        return False
    driver.touched |= <uint32_t>(1 << k)
    return True
