"""Everything is restarted at intervals: the plan, on a clock of the test's own, and with real processes that
do nothing."""

import json
import os
import signal

import pytest

from neat.config import Config, ConfigError, build
from neat.supervisor.component import Phase, all_components
from neat.supervisor.events import EventLog
from neat.supervisor.renewal import WARM_S, WELL_S, Renewal
from tests.supervisor.conftest import dummy_stack
from tests.support import wait_for

ALL = ["syscall", "driver", "replica0", "replica1", "replica2"]


class Spares:
    ready = True
    renewed = 0

    def renew(self):
        self.renewed += 1


class Plan:
    """A supervisor's part of it. `journal` outlives it."""

    def __init__(self, journal, now=1000.0, every_ms=60_000, components=None):
        self.components = components or all_components(range(3), Config())
        if components is None:
            for component in self.components.values():
                component.incarnation, component.phase, component.ready_at = 1, Phase.RUNNING, 0.0
        self.now = now
        self.standbys = Spares()
        self.restarted = []
        self.events = EventLog(journal)
        config = build({"restart_every_ms": every_ms})
        self.renewal = Renewal(config, self.components, self.standbys, self._restart, self.events, self.now)

    def _restart(self, component):
        self.restarted.append(component.name)
        component.phase = Phase.STOPPING

    def is_back(self, name):
        component = self.components[name]
        component.incarnation += 1
        component.phase, component.ready_at = Phase.RUNNING, self.now

    def turn(self, seconds=0.0, *, busy=False):
        self.now += seconds
        self.renewal.turn(self.now, busy=busy)
        return self.restarted

    def round(self):
        """Until nothing is left of it; whom it restarted."""
        before = len(self.restarted)
        self.turn()
        while self.renewal.left:
            self.is_back(self.restarted[-1])
            self.turn(WELL_S)
        return self.restarted[before:]


@pytest.fixture
def journal():
    fd = os.memfd_create("journal")
    yield fd
    os.close(fd)


def test_each_in_turn_when_it_is_due(journal):
    plan = Plan(journal)
    assert plan.turn(59) == [] and plan.renewal.next_s(plan.now) == 1
    plan.now += 1
    assert plan.round() == ALL and plan.standbys.renewed == 1
    plan.turn(55 - plan.now % 60)
    assert plan.restarted == ALL and plan.renewal.next_s(plan.now) <= 60
    plan.now += 60
    assert plan.round() == ALL


def test_the_next_when_the_one_before_is_well(journal):
    plan = Plan(journal)
    assert plan.turn(60) == ["syscall"]
    assert plan.turn(10) == ["syscall"]
    plan.is_back("syscall")
    assert plan.turn(WELL_S / 2) == ["syscall"]
    assert plan.turn(WELL_S / 2) == ["syscall", "driver"]


def test_not_while_somebody_fails_or_starts_or_asks(journal):
    plan = Plan(journal)
    replica = plan.components["replica2"]
    replica.phase = Phase.DOWN
    assert plan.turn(60) == []
    replica.phase = Phase.STARTING
    assert plan.turn(10) == []
    plan.is_back("replica2")
    assert plan.turn(WELL_S, busy=True) == []
    assert plan.turn() == ["syscall"]


def test_it_waits_for_a_standby_but_not_for_ever(journal):
    plan = Plan(journal)
    plan.standbys.ready = False
    assert plan.turn(60) == []
    assert plan.turn(WARM_S / 2) == []
    plan.standbys.ready = True
    assert plan.turn() == ["syscall"]
    plan.is_back("syscall")
    plan.standbys.ready = False
    assert plan.turn(WELL_S) == ["syscall"]
    assert plan.turn(WARM_S) == ["syscall", "driver"]


def test_who_was_replaced_meanwhile_is_done_and_who_leaves_is_left_alone(journal):
    plan = Plan(journal)
    plan.turn(60)
    plan.is_back("driver")  # it had crashed
    plan.components["replica0"].leaving = True
    del plan.components["replica1"]
    assert plan.round() == ["replica2"] and plan.restarted == ["syscall", "replica2"]


def test_a_successor_goes_on_with_the_round(journal):
    plan = Plan(journal)
    plan.turn(60)
    plan.is_back("syscall")
    assert plan.turn(WELL_S)[-1] == "driver"
    plan.is_back("driver")  # nobody has written that down
    plan.now += WELL_S
    successor = Plan(journal, plan.now, components=plan.components)
    assert successor.round() == ["replica0", "replica1", "replica2"]


def test_a_successor_knows_when_the_next_is_due(journal):
    Plan(journal)
    assert Plan(journal, 1050.0).renewal.next_s(1050.0) == 10


def test_it_can_be_ended_and_begun(journal):
    plan = Plan(journal)
    plan.turn(60)
    plan.renewal.set(0.0, plan.now)
    plan.is_back("syscall")
    assert plan.turn(1e6) == ["syscall"] and plan.renewal.next_s(plan.now) is None
    assert Plan(journal, plan.now).renewal.every_s == 0  # whatever the settings say
    plan.renewal.set(10.0, plan.now)
    plan.now += 10
    assert plan.round() == ALL


def test_rounds_that_were_missed_are_not_made_up_for(journal):
    plan = Plan(journal)
    plan.now += 605
    assert plan.round() == ALL
    assert 0 < plan.renewal.next_s(plan.now) <= 60


@pytest.mark.parametrize("settings", [{"restart_every_ms": 500}, {"recovery": "stateless"}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match="restart_every_ms"):
        build({"restart_every_ms": 5000} | settings)


@pytest.mark.netns
def test_processes_are_replaced_again_and_again(tmp_path):
    with dummy_stack(tmp_path, replicas=2, restart_every_ms=1000) as stack:
        first = stack.pids()

        def replaced_twice():
            status = stack.status_or_none()
            return status is not None and all(c["restarts"] >= 2 for c in status["components"][1:])

        wait_for(replaced_twice, 60, "everybody was replaced twice")
        now = stack.pids()
        assert now["supervisor"] == first["supervisor"]
        assert not [e for e in stack.status()["events"] if e["what"] == "died"]
        assert json.loads((tmp_path / "replica0.stops").read_text().splitlines()[0]) is True
        assert "every 1.0s" in stack.neat("status").stdout
        assert "no more restarts" in stack.neat("restart", "--rolling", "--every", "0").stdout
        assert stack.status()["restart_every_s"] is stack.status()["restart_next_s"] is None


@pytest.mark.netns
def test_the_supervisor_is_killed_in_a_round(dummies):
    dummies.neat("restart", "--rolling", "--every", "1h")
    assert 3500 < dummies.status()["restart_next_s"] <= 3600
    pid = dummies.component("supervisor")["pid"]
    os.kill(pid, signal.SIGKILL)

    def successor():
        status = dummies.status_or_none()
        return status is not None and status["components"][0]["pid"] != pid and status

    status = wait_for(successor, 20, "another supervisor")
    assert (status["restart_every_s"], status["restart_left"]) == (3600, [])
    assert 3400 < status["restart_next_s"] <= 3600


@pytest.mark.netns
@pytest.mark.parametrize("every", ["0.5", "33d", "soon", "-1"])
def test_intervals_that_cannot_be(dummies, every):
    done = dummies.neat("restart", "--rolling", "--every", every, check=False)
    assert done.returncode and "Traceback" not in done.stderr
    assert dummies.status()["restart_every_s"] is None


@pytest.mark.netns
@pytest.mark.parametrize("every", [True, "1", None, [], 1e300, -1, 0.5])
def test_requests_that_make_no_sense(dummies, every):
    with pytest.raises(Exception, match="every"):
        dummies.ask(op="restart", rolling=True, every_s=every)


@pytest.mark.netns
@pytest.mark.parametrize("dummies", [{"recovery": "stateless"}], indirect=True)
def test_connections_would_be_lost(dummies):
    done = dummies.neat("restart", "--rolling", "--every", "1h", check=False)
    assert done.returncode == 1 and 'recovery = "stateful"' in done.stderr and done.stderr.count("\n") == 1
