"""Who runs on which processors: the plans as plain functions, and real processes that do nothing."""

import os
import re

import pytest

from neat.config import Config, ConfigError, build
from neat.placement import (
    PROGRAMS,
    PlacementError,
    by_load,
    check_cores,
    cores,
    cpus_of,
    plan,
    text_of,
)
from neat.supervisor.component import Phase, all_components
from neat.supervisor.placement import Placement
from tests.supervisor.conftest import dummy_stack
from tests.support import wait_for

NAMES = ["supervisor", "syscall", "driver", "replica0", "replica1", "replica2"]
PLAIN = [(0,), (1,), (2,), (3,), (4,), (5,)]
THREADS = [(0, 4), (1, 5), (2, 6), (3, 7)]


def test_dedicated():
    found = plan("dedicated", NAMES, PLAIN, {})
    assert found == {
        "driver": (0,), "replica0": (1,), "replica1": (2,), "replica2": (3,), "syscall": (4,), PROGRAMS: (5,)
    }  # fmt: skip
    assert plan("dedicated", NAMES, THREADS, {})["syscall"] == (4,)  # a thread of a core that is taken
    assert plan("dedicated", NAMES, THREADS, {})[PROGRAMS] == (5, 6, 7)


def test_dedicated_where_there_are_too_few():
    found = plan("dedicated", NAMES, PLAIN[:2], {})
    assert found["driver"] == found["replica1"] == found["syscall"] == (0,)
    assert found["replica0"] == found["replica2"] == (1,)
    assert PROGRAMS not in found


def test_replicas_are_in_the_order_of_their_numbers():
    found = plan("dedicated", ["replica10", "replica2", "driver"], PLAIN, {})
    assert (found["replica2"], found["replica10"]) == ((1,), (2,))


def test_colocated():
    found = plan("colocated", NAMES, THREADS, {})
    assert found["driver"] == found["syscall"] == (0, 4)
    assert [found[f"replica{k}"] for k in range(3)] == [(1, 5), (2, 6), (3, 7)]
    assert PROGRAMS not in found
    assert plan("colocated", NAMES, PLAIN, {})[PROGRAMS] == (4, 5)


@pytest.mark.parametrize("there", [[(0,)], [(0,), (1,)]])
def test_colocated_on_a_small_machine(there):
    found = plan("colocated", NAMES, there, {})
    assert found["driver"] == (0,) and found["replica0"] == found["replica2"] == there[-1]


def test_parts_of_one_replica_stay_together():
    found = plan("colocated", ["driver", "replica0.ip", "replica0.tcp", "replica1.ip"], PLAIN, {})
    assert found["replica0.ip"] == found["replica0.tcp"] == (1,) and found["replica1.ip"] == (2,)


def test_single():
    found = plan("single", NAMES, THREADS, {})
    assert {name: found[name] for name in NAMES[1:]} == dict.fromkeys(NAMES[1:], (0,))
    assert found[PROGRAMS] == (4, 1, 5, 2, 6, 3, 7)


def test_by_hand_the_first_rule_that_matches_wins():
    setting = ["replica1=5", "replica*=1-3", "supervisor=0", "*=0"]
    found = plan(setting, NAMES, PLAIN, {})
    assert found == {
        "replica1": (5,), "replica0": (1, 2, 3), "replica2": (1, 2, 3),
        "supervisor": (0,), "syscall": (0,), "driver": (0,),
    }  # fmt: skip
    assert plan(["driver=0", "programs=2,4"], NAMES, PLAIN, {}) == {"driver": (0,), PROGRAMS: (2, 4)}


def test_none():
    assert plan("", NAMES, PLAIN, {}) == {}


def test_by_load_the_busiest_have_their_own():
    loads = {"driver": 0.9, "replica0": 0.5, "replica1": 0.3, "syscall": 0.01}
    owners = by_load(loads, range(3), {})
    assert set(owners) == {"driver", "replica0"} and len(set(owners.values())) == 2
    found = plan("load", list(loads), PLAIN[:3], owners)
    (rest,) = set(range(3)) - set(owners.values())
    assert found["replica1"] == found["syscall"] == found[PROGRAMS] == (rest,)
    assert found["driver"] == (owners["driver"],)


def test_owners_stay_until_somebody_is_clearly_busier():
    owners = by_load({"a": 0.5, "b": 0.3}, range(2), {})
    assert set(owners) == {"a"}
    assert by_load({"a": 0.4, "b": 0.55}, range(2), owners) == owners
    assert set(by_load({"a": 0.3, "b": 0.55}, range(2), owners)) == {"b"}
    assert by_load({"a": 0.15, "b": 0.1}, range(2), owners) == owners
    assert by_load({"a": 0.05, "b": 0.1}, range(2), owners) == {}
    assert by_load({"b": 0.1}, range(2), owners) == {}


def test_one_processor_is_nobodys():
    assert by_load({"a": 1.0, "b": 1.0}, range(1), {}) == {}
    assert by_load({}, range(4), {}) == {}


def test_numbers():
    assert cpus_of("0, 2-3,3") == (0, 2, 3)
    assert text_of([3, 0, 2, 5, 6, 7]) == "0,2-3,5-7" and text_of([]) == ""


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,", "-1", "1-", "99999", "8192", "0x1", "1 2"])
def test_what_is_no_processor(text):
    with pytest.raises(PlacementError):
        cpus_of(text)


def test_the_machine_in_cores(tmp_path):
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert cores({0, 1, 2, 3, 9}, tmp_path) == [(0, 2), (1, 3), (9,)]
    assert cores({2, 3}, tmp_path) == [(2,), (3,)]


@pytest.mark.parametrize(
    "setting", ["fast", ["driver"], ["=1"], ["driver=x"], ["DRIVER=1"], ["a b=1"], 3, [1]]
)
def test_settings_that_make_no_sense(setting):
    with pytest.raises(ConfigError, match="placement"):
        build({"placement": setting})


def test_processors_that_are_not_there():
    check_cores(["driver=0-1"], {0, 1})
    with pytest.raises(PlacementError, match=re.escape("replica*: there is no processor 2-3 for us")):
        check_cores(["driver=0-1", "replica*=1-3"], {0, 1})


class Log:
    def __init__(self):
        self.events = []

    def record(self, *event):
        self.events.append(event)


def test_a_processor_that_has_gone_is_said_once(monkeypatch):
    """Its component stays where it is."""
    components, log = all_components(range(1), Config()), Log()
    components["driver"].pid = 4711
    tried = []

    def refuse(pid, cpus):
        tried.append((pid, cpus))
        raise OSError(22, "Invalid argument")

    placed = Placement(Config(placement=["driver=0"]), components, lambda name: 0.0, log, os.getpid())
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    placed.all = (0, 1)
    for pid in (4711, 4711, 4712):
        components["driver"].pid = pid
        placed.turn(0.0)
    assert [pid for pid, cpus in tried if cpus == (0,)] == [4711, 4712]
    assert log.events.count(("driver", "cannot be placed", "on 0: Invalid argument")) == 1
    assert placed.cores_of("driver") is None


def test_who_is_awaited_runs_anywhere(monkeypatch):
    components, put = all_components(range(1), Config()), []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: put.append((pid, cpus)))
    driver = components["driver"]
    driver.pid, driver.phase = 4711, Phase.STARTING
    placed = Placement(Config(placement=["driver=0"]), components, lambda name: 0.0, Log(), os.getpid())
    placed.all = (0, 1)
    placed.turn(0.0)
    driver.phase = Phase.RUNNING
    placed.turn(0.0)
    driver.phase = Phase.STOPPING
    placed.turn(0.0)
    assert [cpus for pid, cpus in put if pid == 4711] == [(0, 1), (0,)]


def where(stack):
    return {name: os.sched_getaffinity(pid) for name, pid in stack.pids().items() if pid}


two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is no choice")


@two
@pytest.mark.netns
def test_processes_are_where_they_belong(tmp_path):
    """From the start, and whoever takes a place later: a successor that was a standby, a new replica, those
    of a new supervisor."""
    every = sorted(os.sched_getaffinity(0))
    first, second = every[:2]
    rules = [f"replica*={first}", f"driver={second}"]
    with dummy_stack(tmp_path, replicas=2, placement=rules) as stack:
        wanted = {"replica0": {first}, "replica1": {first}, "driver": {second}}
        wanted |= {"supervisor": set(every), "syscall": set(every)}
        wait_for(lambda: where(stack) == wanted, 10, "everybody in his place")
        stack.neat("scale", "3")
        stack.neat("restart", "driver")
        pid = stack.component("supervisor")["pid"]
        stack.neat("kill", "supervisor")
        wait_for(lambda: (s := stack.status_or_none()) and s["components"][0]["pid"] != pid, 20, "another")
        stack.neat("restart", "replica0")
        assert where(stack) == wanted | {"replica2": {first}}
        status = stack.status()
        assert status["placement"] == rules and status["programs_cores"] is None
        cores_of = {c["name"]: c["cores"] for c in status["components"]}
        assert cores_of["replica2"] == [first] and cores_of["syscall"] is None
        shown = stack.neat("status").stdout
        assert "programs anywhere" in shown and f"replica*={first}" in shown


@two
@pytest.mark.netns
def test_a_profile(tmp_path):
    every = sorted(os.sched_getaffinity(0))
    with dummy_stack(tmp_path, replicas=1, placement="single") as stack:
        wanted = dict.fromkeys(("driver", "syscall", "replica0"), {every[0]}) | {"supervisor": set(every)}
        wait_for(lambda: where(stack) == wanted, 10, "all on one processor")
        assert set(stack.status()["programs_cores"]) == set(every[1:])
        done = stack.neat("run", "--", "/usr/bin/python3", "-c", SHOW)
        assert done.stdout.strip() == str(sorted(every[1:]))


SHOW = "import os; print(sorted(os.sched_getaffinity(0)))"


@two
@pytest.mark.netns
def test_by_load(tmp_path):
    """Who is busy gets a processor by himself, until he is not busy any more."""
    with dummy_stack(tmp_path, replicas=2, placement="load") as stack:
        (tmp_path / "replica1.busy").touch()

        def alone():
            found = where(stack)
            mine = found.pop("replica1")
            others = [cpus for name, cpus in found.items() if name != "supervisor"]
            return len(mine) == 1 and not any(mine & cpus for cpus in others)

        wait_for(alone, 60, "a processor for replica1 alone")
        assert any(e["what"] == "places by load" for e in stack.status()["events"])
        (tmp_path / "replica1.busy").unlink()
        every = os.sched_getaffinity(0)
        wait_for(lambda: where(stack)["replica1"] == every, 60, "all are anywhere")


@pytest.mark.netns
def test_processors_that_neat_up_cannot_have(tmp_path):
    refused = pytest.raises(AssertionError, match=r"Error: placement = .*driver: there is no processor 4000")
    with refused, dummy_stack(tmp_path, placement=["driver=4000"]):
        pass
