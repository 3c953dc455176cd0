"""The flow table: against a model, when it is full, across epochs, and with contents that no driver wrote."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from neat.drivers.pysteer import FLOW_WINDOW, Steering
from neat.shm import segment, steering
from neat.shm.counters import DriverCounter

CAPACITY = 64
FADING, NEW, LIVE = 1, 2, 3
TCP = 6
SLOT_ACTIVE = 2


def table(capacity=CAPACITY, replicas=4):
    """(the supervisor's view, the segment's memory, the driver's view)."""
    fd = segment.create("steering", steering.steering_bytes(capacity))
    steering.initialise(fd, capacity, bytes(range(40)))
    supervisor = steering.Steering(fd, capacity, writable=True)
    for slot in range(replicas):
        supervisor.set_state(slot, SLOT_ACTIVE)
    memory = supervisor.segment.view
    return supervisor, memory, Steering(memory, capacity)


def key(number):
    return (
        TCP,
        "10.77.0.2",
        80,
        f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        1024 + number % 60000,
    )


class FlowTableModel(RuleBasedStateMachine):
    """A dict of what was learnt and not ended. The table may forget FLOW_NEW entries, never a live one."""

    keys = st.integers(0, 200)
    slots = st.integers(0, 3)

    def __init__(self):
        super().__init__()
        self.supervisor, self.memory, self.driver = table()
        self.now = 0
        self.live, self.new = {}, {}

    @rule(number=keys, slot=slots)
    def learn_new(self, number, slot):
        if number in self.live or self.driver.find(key(number)):
            return
        self.now += 1
        self.driver.clock(self.now)
        if self.driver.learn(key(number), slot, NEW):
            self.new[number] = slot

    @rule(number=keys, slot=slots)
    def add(self, number, slot):
        accepted = self.driver.add(key(number), slot)
        if number in self.live:
            assert accepted == (self.live[number] == slot)
        elif self.driver.find(key(number)) == (slot, LIVE):
            self.live[number] = slot
            self.new.pop(number, None)
        else:
            assert self.driver.count(DriverCounter.DRV_FLOW_TABLE_FULL) > 0

    @rule(number=keys, slot=slots)
    def delete(self, number, slot):
        found = self.driver.find(key(number))
        assert self.driver.delete(key(number), slot) == (found is None or found[0] == slot)
        if found and found[0] == slot:
            self.live.pop(number, None)
            self.new.pop(number, None)
            assert self.driver.find(key(number)) is None

    @rule(slot=slots)
    def connections_of_a_slot_are_gone(self, slot):
        self.supervisor.bump_epoch(slot)
        self.live = {n: s for n, s in self.live.items() if s != slot}
        self.new = {n: s for n, s in self.new.items() if s != slot}

    @precondition(lambda self: self.live)
    @rule()
    def driver_is_replaced(self):
        """The successor finds what its predecessor wrote."""
        self.driver = Steering(self.memory, CAPACITY)
        assert self.driver.count(DriverCounter.DRV_FLOWS_INVALID) == 0

    @invariant()
    def live_flows_are_found(self):
        for number, slot in self.live.items():
            assert self.driver.find(key(number)) == (slot, LIVE)

    @invariant()
    def nothing_else_is_found(self):
        for number in range(201):
            found = self.driver.find(key(number))
            if found and number not in self.live:
                assert found == (self.new[number], NEW)

    @invariant()
    def flows_are_counted(self):
        self.driver.check()
        counts = self.supervisor.flow_counts()
        assert [self.driver.flows(slot) for slot in range(16)] == counts


FlowTableModel.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestFlowTableModel = FlowTableModel.TestCase


def test_full_of_live_flows_learns_no_more():
    """Live flows are never pushed out, and what is not learnt is counted."""
    _supervisor, _memory, driver = table()
    for number in range(1000):
        driver.learn(key(number), 0, LIVE)
    known = [number for number in range(1000) if driver.find(key(number))]
    assert FLOW_WINDOW <= len(known) <= CAPACITY
    assert driver.count(DriverCounter.DRV_FLOW_TABLE_FULL) == 1000 - len(known)
    driver.learn(key(5000), 1, NEW)
    assert all(driver.find(key(number)) == (0, LIVE) for number in known)


def test_fading_flows_make_room_first():
    """TIME-WAITs are many, and the least that is lost with them: live flows are learnt all the same."""
    _supervisor, _memory, driver = table()
    for number in range(1000):
        driver.clock(number + 1)
        if driver.learn(key(number), 0, LIVE):
            assert driver.fade(key(number), 0)
    assert driver.count(DriverCounter.DRV_FLOW_TABLE_FULL) == 0
    known = [number for number in range(1000) if driver.find(key(number))]
    assert all(driver.find(key(number)) == (0, FADING) for number in known)
    for number in range(2000, 2000 + FLOW_WINDOW):
        assert driver.learn(key(number), 1, NEW)
    for number in range(3000, 3000 + FLOW_WINDOW):
        assert driver.learn(key(number), 2, LIVE)
    assert all(driver.find(key(number)) == (1, NEW) for number in range(2000, 2000 + FLOW_WINDOW))


def test_a_replica_lets_fade_only_its_own():
    _supervisor, _memory, driver = table()
    driver.learn(key(1), 2, LIVE)
    assert not driver.fade(key(1), 1)
    assert driver.find(key(1)) == (2, LIVE)
    assert driver.fade(key(2), 1)  # it was perhaps never learnt: that is no fault
    assert driver.find(key(2)) is None


def test_the_oldest_new_flow_makes_room():
    _supervisor, _memory, driver = table(capacity=64)
    survivors = []
    for number in range(300):
        driver.clock(number + 1)
        assert driver.learn(key(number), 0, NEW)
        survivors.append(number)
    present = {n for n in survivors if driver.find(key(n))}
    assert driver.count(DriverCounter.DRV_FLOWS_EVICTED) == 300 - len(present)
    # A flow is pushed out only by one that is younger: of the last FLOW_WINDOW, none is gone.
    assert present >= set(range(300 - FLOW_WINDOW, 300))


def test_idle_flows_make_room():
    """A FLOW_DELETE may be lost. A live flow that was idle for long goes when its place is needed."""
    _supervisor, _memory, driver = table()
    minute = 60 * 10**9
    driver.clock(minute)
    for number in range(1000):
        driver.learn(key(number), 0, LIVE)
    known = [number for number in range(1000) if driver.find(key(number))]
    driver.clock(10 * minute)
    in_use = known[::2]
    assert all(driver.find(key(number)) for number in in_use)
    driver.clock(20 * minute)
    for number in range(2000, 3000):
        driver.learn(key(number), 1, LIVE)
    assert all(driver.find(key(number)) == (0, LIVE) for number in in_use)
    assert not any(driver.find(key(number)) for number in known[1::2])


def test_no_learning_for_a_slot_that_cannot_be():
    _supervisor, _memory, driver = table()
    assert not driver.learn(key(1), 16, NEW)
    assert driver.find(key(1)) is None


def test_epoch_makes_entries_void_at_once():
    supervisor, _memory, driver = table()
    assert driver.learn(key(1), 2, LIVE)
    assert driver.learn(key(2), 3, LIVE)
    supervisor.bump_epoch(2)
    assert driver.find(key(1)) is None
    assert driver.find(key(2)) == (3, LIVE)
    driver.check()
    assert (driver.flows(2), driver.flows(3)) == (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_hostile_contents(seed):
    """Any bytes in the table: they are discarded and counted, and it works afterwards."""
    _supervisor, memory, driver = table()
    chance = random.Random(seed)
    for number in range(20):
        driver.learn(key(number), 1, LIVE)
    start = 4096
    for i in range(CAPACITY):
        if chance.random() < 0.7:
            memory[start + 64 * i : start + 64 * i + 64] = chance.randbytes(64)
        elif chance.random() < 0.5:
            memory[start + 64 * i + 56] = chance.randrange(256)
    for number in range(200):
        driver.find(key(number))
        driver.learn(key(number), 0, NEW)
        driver.delete(key(number), 0)
    successor = Steering(memory, CAPACITY)
    assert sum(successor.flows(slot) for slot in range(16)) <= CAPACITY
    for number in range(300, 310):
        assert successor.learn(key(number), 3, NEW)
        assert successor.find(key(number)) == (3, NEW)


def test_an_entry_where_no_lookup_finds_it_is_discarded():
    _supervisor, memory, driver = table(capacity=256)
    driver.learn(key(1), 1, LIVE)
    (at,) = (i for i in range(256) if memory[4096 + 64 * i + 40])
    entry = bytes(memory[4096 + 64 * at : 4096 + 64 * at + 64])
    elsewhere = (at + 100) % 256
    memory[4096 + 64 * elsewhere : 4096 + 64 * elsewhere + 64] = entry
    successor = Steering(memory, 256)
    assert successor.count(DriverCounter.DRV_FLOWS_INVALID) == 1
    assert successor.find(key(1)) == (1, LIVE)
    assert successor.flows(1) == 1


def test_capacity_must_be_a_power_of_two():
    _supervisor, memory, _driver = table()
    with pytest.raises(ValueError, match="power of two"):
        Steering(memory, 48)
    with pytest.raises(ValueError, match="does not fit"):
        Steering(memory, 1 << 20)
