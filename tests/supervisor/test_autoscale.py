"""When there are to be more replicas, or fewer: a pure function of looks, on a clock of the test's own."""

import pytest

from neat.supervisor.autoscale import Autoscale, Decision, Meter, Sample

SECOND = 1_000_000_000


class Clock:
    """Looks once a second at replicas that all have the same load."""

    def __init__(self, low=1, high=8, up=75.0, down=45.0, cooldown_s=0.0):
        self.policy = Autoscale(low, high, up, down, cooldown_s)
        self.now = 100.0

    def look(self, count, load, ring=0.0):
        self.now += 1
        return self.policy.decide([Sample(load, 0.0)] * (count - 1) + [Sample(load, ring)], self.now)

    def changes(self, count, total, looks=100, ring=0.0):
        """How many replicas there are after each change, as a load of `total` percent stays."""
        found = []
        for _ in range(looks):
            decision = self.look(count, min(total / count, 100.0), ring)
            if decision:
                count = decision.count
                found.append(count)
        return found


def test_one_look_decides_nothing():
    clock = Clock()
    assert clock.look(2, 90) is None
    assert clock.look(2, 70) is None
    assert clock.look(2, 90) is None
    assert clock.look(2, 90).count == 3


def test_it_follows_a_load_up_and_down_and_then_rests():
    clock = Clock()
    assert clock.changes(1, 290) == [2, 3, 4]
    assert clock.changes(4, 290) == []
    assert clock.changes(4, 120) == [3]
    assert clock.changes(3, 1) == [2, 1]


@pytest.mark.parametrize("total", range(0, 801, 5))
@pytest.mark.parametrize("start", [1, 3, 8])
def test_it_never_swings(start, total):
    """Whatever the load: it goes one way, and stops."""
    found = [start, *Clock().changes(start, total)]
    assert found in (sorted(found), sorted(found, reverse=True))
    assert Clock().changes(found[-1], total) == []


def test_a_full_ring_asks_for_more_whatever_the_load():
    clock = Clock()
    assert clock.look(2, 10, ring=60) is None
    assert clock.look(2, 10, ring=60) == Decision(3, "load 10 %, limit 75 %, a ring 60 % full")
    assert Clock().changes(3, 3, looks=20, ring=60)[0] == 4


def test_bounds():
    assert Clock(high=3).changes(1, 800) == [2, 3]
    assert Clock(low=2).changes(5, 0) == [4, 3, 2]
    assert Clock(low=2).look(1, 50) == Decision(2, "1 replicas, and it must be 2 to 8")
    assert Clock(high=4).look(6, 50).count == 4


def test_after_a_change_nothing_is_judged_for_a_while():
    clock = Clock(cooldown_s=10)
    clock.look(1, 100)
    assert clock.look(1, 100).count == 2
    assert [clock.look(2, 100) for _ in range(10)] == [None] * 10
    assert clock.look(2, 100).count == 3


def test_what_starts_or_recovers_is_no_evidence():
    clock = Clock()
    clock.look(1, 100)
    clock.policy.disturbed()
    assert clock.look(1, 100) is None


def test_meters():
    began = Meter(10.0, 5 * SECOND, 3, 20.0)
    assert began.until(Meter(12.0, 6 * SECOND, 3, 30.0)) == Sample(50.0, 30.0)
    assert began.until(Meter(11.0, 5 * SECOND, 4, 0.0)) == Sample(0.0, 100.0)
    assert began.until(Meter(11.0, 99 * SECOND, 3, 0.0)).load == 100.0
    assert began.until(Meter(11.0, 0, 0, 0.0)) == Sample(0.0, 0.0)  # a new process counts from 0
