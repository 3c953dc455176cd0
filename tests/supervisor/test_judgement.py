"""Who is replaced as of no use, by counters of a board that is a dictionary and a clock that is a number."""

from collections import Counter

import pytest

from neat.config import Config
from neat.stack.counters import NAMES
from neat.supervisor.component import Component, Phase, replicas_in
from neat.supervisor.judgement import (
    AGAIN,
    LEAST,
    MOST_PAUSE_NS,
    OF_SYNS,
    PAUSE_NS,
    PROGRESS,
    ROUND_NS,
    SHARED,
    Judgement,
    enough,
)

S = 1_000_000_000
WELL = {"tcp_acked": 10, "tcp_handshakes": 20, "tcp_served": 20}


class World:
    def __init__(self, replicas: int = 2, **settings):
        self.config = Config(**({"datapath": "queues"} | settings))
        self.components = [Component("driver", "driver", "")]
        for slot in range(replicas):
            self.components += replicas_in(slot, self.config)
        for component in self.components:
            component.phase, component.incarnation = Phase.RUNNING, 1
        self.counters = Counter()
        self.judgement = Judgement(self.config, lambda component, name: self.counters[component, name])
        self.now = 1000 * S
        self.look()

    def count(self, component, **counts):
        for name, n in counts.items():
            self.counters[component, name] += n

    def look(self):
        self.now += ROUND_NS
        return self.judgement.look(self.components, self.now)

    def found(self, seconds, **happens):
        """What the first finding is while this is counted each round: component → counts."""
        for _ in range(seconds * S // ROUND_NS):
            for component, counts in happens.items():
                self.count(component, **counts)
            found = self.look()
            if found is not None:
                return found
        return None

    def replace(self, component):
        component.incarnation += 1
        for key in list(self.counters):
            if key[0] == component.name:
                del self.counters[key]

    def names(self, count, **happens):
        """The components that are replaced one after another."""
        names = []
        for _ in range(count):
            found = self.found(3600, **happens)
            names.append(found and found.component.name)
            if found is None:
                break
            self.replace(found.component)
        return names


def test_counters_are_the_engines():
    assert {*PROGRESS, AGAIN, OF_SYNS, *(name for name, _ in SHARED)} <= set(NAMES)


def test_how_many_are_enough():
    """(1 - 1/n) ** k is the probability that one of n has none of k."""
    for replicas in range(2, 17):
        assert (1 - 1 / replicas) ** enough(replicas) <= 1e-6 < (1 - 1 / replicas) ** (enough(replicas) - 1)


@pytest.mark.parametrize("none_of", ["tcp_handshakes", "tcp_served"])
def test_who_has_none_of_what_falls_to_all_is_replaced(none_of):
    world = World(3)
    found = world.found(60, replica0=WELL | {none_of: 0}, replica1=WELL, replica2=WELL)
    assert found.component.name == "replica0" and not found.lost
    assert "while others had" in found.why


def test_whose_share_is_small_is_left_alone():
    assert World(3).found(600, replica0={"tcp_handshakes": 1, "tcp_served": 1}, replica1=WELL) is not None
    world = World(2)
    assert world.found(600, replica0={"tcp_handshakes": 1, "tcp_served": 1}, replica1=WELL) is None


def test_not_for_what_may_be_chance():
    world = World(3)
    world.count("replica1", tcp_handshakes=enough(3) - 1)
    assert world.found(600) is None
    world.count("replica2", tcp_handshakes=1)
    assert world.look().component.name == "replica0"


def test_junk_and_forgeries_are_nobodys_fault():
    """Whatever is counted of frames, refusals, duplicates and handshakes that do not end."""
    chosen = {*PROGRESS, AGAIN, *(name for name, _ in SHARED)}
    junk = {name: 1000 for name in NAMES if name not in chosen} | {AGAIN: 500, OF_SYNS: 500}
    world = World(2)
    assert world.found(600, replica0=junk, replica1={"tcp_acked": 50}) is None
    assert World(1).found(600, replica0=junk) is None


@pytest.mark.parametrize("progress", PROGRESS)
def test_who_gets_on_may_send_again(progress):
    assert World(1).found(60, replica0={AGAIN: 50, progress: 1}) is None


def test_nothing_is_acknowledged():
    found = World(1).found(60, replica0={AGAIN: 5})
    assert found.component.name == "replica0" and not found.lost
    assert "nothing is acknowledged" in found.why


def test_not_before_it_has_been_so_for_long():
    world = World(1, in_vain_ms=5000)
    assert world.found(5, replica0={AGAIN: 100}) is None
    assert world.found(1, replica0={AGAIN: 100}) is not None


def test_not_for_a_few():
    world = World(1)
    world.count("replica0", tcp_timeouts=LEAST - 1)
    assert world.found(60) is None
    world.count("replica0", tcp_timeouts=1)
    assert world.look() is not None


def test_zero_is_never():
    assert World(1, in_vain_ms=0).found(600, replica0={AGAIN: 9}) is None


def test_each_time_in_vain_the_next_is_put_off():
    world = World(1)
    times = []
    for _ in range(9):
        found = world.found(3600, replica0={AGAIN: 9})
        times.append(world.now)
        world.replace(found.component)
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= PAUSE_NS
    assert pauses[3] >= 8 * PAUSE_NS
    assert MOST_PAUSE_NS <= pauses[-1] < MOST_PAUSE_NS + 10 * S


def test_state_is_given_up_when_a_successor_is_no_better_and_others_are():
    world = World(2)
    first = world.found(60, replica1=WELL)
    world.replace(first.component)
    second = world.found(60, replica1=WELL)
    assert (first.lost, second.lost) == (False, True)
    assert second.component.name == "replica0"


def test_state_is_kept_when_nobody_gets_on():
    world = World(1)
    for _ in range(5):
        found = world.found(3600, replica0={AGAIN: 9})
        assert not found.lost
        world.replace(found.component)


def test_all_that_is_well_again_is_forgotten():
    world = World(2)
    world.replace(world.found(60, replica1=WELL).component)
    assert world.found(3600, replica0=WELL, replica1=WELL) is None
    assert not world.found(60, replica1=WELL).lost


def test_driver_goes_first_if_nobody_gets_on():
    names = World(2, datapath="driver").names(3, replica0={AGAIN: 9}, replica1={AGAIN: 9})
    assert names[0] == "driver"
    assert set(names[1:]) == {"replica0", "replica1"}


def test_driver_is_left_alone_if_somebody_gets_on():
    names = World(2, datapath="driver").names(1, replica0={AGAIN: 9}, replica1={"tcp_acked": 1})
    assert names == ["replica0"]


def test_parts_go_one_after_another_ip_first():
    names = World(2, components="multi").names(3, replica1=WELL)
    assert names == ["replica0.ip", "replica0", "replica0.ip"]


def test_stateless_is_replaced_only_if_others_get_on():
    assert World(1, recovery="stateless").found(3600, replica0={AGAIN: 9}) is None
    assert World(2, recovery="stateless").found(60, replica1=WELL) is not None


def test_who_leaves_gets_nothing_new():
    world = World(2)
    world.components[1].leaving = True
    assert world.found(600, replica1=WELL) is None


def test_replica_that_is_away_is_not_judged():
    world = World(2)
    world.components[1].phase = Phase.STARTING
    assert world.found(60, replica1=WELL) is None


def test_successor_begins_with_a_clean_slate():
    world = World(2)
    world.count("replica1", tcp_handshakes=1000)
    world.count("replica0", tcp_timeouts=1000)
    world.look()
    world.replace(world.components[1])
    assert world.found(60) is None


def test_replicas_that_come_and_go():
    world = World(3)
    gone = world.components.pop()
    assert world.found(10, replica0=WELL, replica1=WELL) is None
    world.components.append(gone)
    gone.incarnation += 1
    assert world.found(10, replica0=WELL, replica1=WELL).component is gone
