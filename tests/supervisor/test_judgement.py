"""Who is replaced as of no use, by counters of a board that is a dictionary and a clock that is a number."""

from collections import Counter

import pytest

from neat.config import Config
from neat.stack.counters import NAMES
from neat.supervisor.component import Component, Phase, replicas_in
from neat.supervisor.judgement import FUNCTIONS, LEAST, MANY, MOST_PAUSE_NS, PAUSE_NS, ROUND_NS, Judgement

S = 1_000_000_000


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
                self.count(component.replace("_", "."), **counts)
            found = self.look()
            if found is not None:
                return found
        return None

    def replace(self, component):
        component.incarnation += 1
        for key in list(self.counters):
            if key[0] == component.name:
                del self.counters[key]

    def names(self, count, seconds=3600, **happens):
        """The components that are replaced one after another."""
        names = []
        for _ in range(count):
            found = self.found(seconds, **happens)
            names.append(found and found.component.name)
            if found is None:
                break
            self.replace(found.component)
        return names


def test_counters_are_the_engines():
    for function in FUNCTIONS:
        for names in (function.progress, function.vain, function.handled):
            assert {name.removeprefix("-") for name in names} <= set(NAMES)


@pytest.mark.parametrize("progress", ["tcp_acked", "tcp_bytes_in", "tcp_handshakes"])
def test_who_gets_on_is_left_alone(progress):
    world = World()
    assert world.found(60, replica0={"tcp_timeouts": 5, "rx_frames": 1000, progress: 1}) is None


def test_who_does_nothing_is_left_alone():
    assert World().found(60, replica1={"tcp_acked": 9}) is None


@pytest.mark.parametrize(
    "vain",
    ["tcp_timeouts", "tcp_old_data", "tcp_out_of_window", "tcp_bad_checksum", "tcp_syns_again", "tcp_asked"],
)
def test_who_is_in_vain_is_replaced(vain):
    world = World()
    found = world.found(60, replica1={vain: 2})
    assert found.component.name == "replica1"
    assert not found.lost
    assert "times in vain" in found.why


def test_not_before_it_has_been_in_vain_for_long():
    world = World(in_vain_ms=5000)
    assert world.found(5, replica0={"tcp_timeouts": 100}) is None
    assert world.found(1, replica0={"tcp_timeouts": 100}) is not None


def test_not_for_a_few():
    world = World()
    world.count("replica0", tcp_timeouts=LEAST - 1)
    assert world.found(60) is None
    world.count("replica0", tcp_timeouts=1)
    assert world.look() is not None


def test_syn_acks_that_nobody_wants_are_not_in_vain():
    assert World().found(600, replica0={"tcp_timeouts": 9, "tcp_syn_retransmits": 9}) is None


def test_zero_is_never():
    assert World(in_vain_ms=0).found(600, replica0={"tcp_timeouts": 9}) is None


def test_no_handshake_ends_though_old_connections_get_on():
    found = World().found(60, replica0={"tcp_acked": 50, "tcp_syns_again": 1})
    assert found.component.name == "replica0"
    assert "no handshake ends" in found.why


def test_nobody_is_served_though_all_else_gets_on():
    others = {"tcp_acked": 50, "tcp_bytes_in": 5000, "tcp_handshakes": 5}
    found = World().found(60, replica0=others | {"tcp_asked": 5})
    assert "nobody is served" in found.why
    assert World().found(60, replica0=others | {"tcp_asked": 5, "tcp_served": 1}) is None


def test_segments_that_lead_to_nothing_while_others_get_on():
    world = World()
    junk = {"rx_frames": 20}
    assert world.found(60, replica0=junk) is None  # nobody to compare it with
    found = world.found(60, replica0=junk, replica1={"tcp_acked": 1})
    assert found.component.name == "replica0"
    assert f"after {MANY}" in found.why or "segments" in found.why


def test_who_refuses_everybody_while_others_do_not():
    got_on = {"tcp_acked": 1}
    found = World().found(60, replica0=got_on | {"tcp_no_connection": 20}, replica1={"tcp_handshakes": 1})
    assert "no handshake ends" in found.why
    assert World().found(60, replica0=got_on | {"tcp_no_connection": 20}, replica1=got_on) is None


def test_segments_that_lead_to_nothing_in_the_only_replica():
    assert World(replicas=1).found(60, replica0={"rx_frames": 20}) is not None
    assert World(replicas=1, recovery="stateless").found(60, replica0={"rx_frames": 20}) is None


def test_other_protocols_are_none_of_it():
    assert (
        World(replicas=1).found(60, replica0={"rx_frames": 20, "udp_in": 10, "icmp_in": 5, "rx_ipv6": 5})
        is None
    )
    up = {
        "replica0_ip": {"rx_frames": 20, "ip_handed_up": 20},
        "replica0_udp": {"rx_frames": 20, "udp_in": 20},
    }
    assert World(replicas=1, components="multi").found(60, **up) is None


def test_each_time_in_vain_the_next_is_put_off():
    world = World(replicas=1)
    times = []
    for _ in range(9):
        found = world.found(3600, replica0={"tcp_timeouts": 3})
        times.append(world.now)
        world.replace(found.component)
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= PAUSE_NS
    assert pauses[3] >= 8 * PAUSE_NS
    assert MOST_PAUSE_NS <= pauses[-1] < MOST_PAUSE_NS + 10 * S


def test_state_is_given_up_when_a_successor_is_no_better_and_others_are():
    world = World()
    vain = {"rx_frames": 100}
    got_on = {"tcp_acked": 1}
    first = world.found(60, replica0=vain, replica1=got_on)
    world.replace(first.component)
    second = world.found(60, replica0=vain, replica1=got_on)
    assert (first.lost, second.lost) == (False, True)
    assert second.component.name == "replica0"


def test_state_is_kept_when_nobody_gets_on():
    world = World(replicas=1)
    for _ in range(5):
        found = world.found(3600, replica0={"tcp_timeouts": 3, "rx_frames": 100})
        assert not found.lost
        world.replace(found.component)


def test_driver_goes_first_if_nobody_gets_on():
    world = World(datapath="driver")
    both = {"replica0": {"tcp_timeouts": 3}, "replica1": {"tcp_timeouts": 3}}
    names = world.names(3, **both)
    assert names[0] == "driver"
    assert set(names[1:]) == {"replica0", "replica1"}


def test_driver_is_left_alone_if_somebody_gets_on():
    world = World(datapath="driver")
    assert world.names(1, replica0={"tcp_timeouts": 3}, replica1={"tcp_acked": 1}) == ["replica0"]


def test_parts_go_one_after_another_ip_first():
    world = World(components="multi")
    vain = {"replica0": {"tcp_timeouts": 3}, "replica1": {"tcp_acked": 1}}
    assert world.names(3, **vain) == ["replica0.ip", "replica0", "replica0.ip"]


def test_part_that_hands_nothing_up():
    world = World(components="multi")
    assert world.names(1, replica0_ip={"ip_bad_checksum": 3}) == ["replica0.ip"]


def test_stateless_is_replaced_only_if_others_get_on():
    world = World(recovery="stateless")
    assert world.found(3600, replica0={"tcp_timeouts": 3}) is None
    assert world.found(60, replica0={"rx_frames": 100}, replica1={"tcp_acked": 1}) is not None


def test_replica_that_is_away_is_not_judged():
    world = World()
    world.components[1].phase = Phase.STARTING
    assert world.found(60, replica0={"tcp_timeouts": 3}) is None


def test_successor_begins_with_a_clean_slate():
    world = World()
    world.count("replica0", tcp_timeouts=100)
    world.look()
    world.replace(world.components[1])
    assert world.found(60) is None


def test_replicas_that_come_and_go():
    world = World(replicas=3)
    gone = world.components.pop()
    assert world.found(10, replica2={"tcp_timeouts": 3}) is None
    world.components.append(gone)
    assert world.found(10, replica2={"tcp_timeouts": 3}).component is gone
