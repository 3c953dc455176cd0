"""A replica's state goes on in its successor: with components that do nothing, and say what they were started
with."""

import contextlib
import json
import os
import signal

import pytest

from neat.replica import sizes
from tests.supervisor.test_life import alive, descendants, events, heard_by_syscall, wait_replaced
from tests.support import Stack, wait_for

pytestmark = [
    pytest.mark.netns,
    pytest.mark.parametrize(
        "dummies",
        [{"recovery": "stateful", "datapath": name} for name in ("queues", "driver")],
        indirect=True,
        ids=lambda settings: settings["datapath"],
    ),
]


def noted(stack: Stack, name: str) -> list:
    path = stack.behaviour / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def replaced_after(stack: Stack, name: str, number: str) -> dict:
    pid = stack.pids()[name]
    stack.neat("kill", name, "--signal", number)
    return wait_replaced(stack, name, pid)


def about(stack: Stack, slot: int) -> list[tuple[str, int]]:
    """What the syscall server heard of a replica."""
    return [(m["op"], m["incarnation"]) for m in heard_by_syscall(stack) if m.get("replica") == slot]


def test_killed_replica_goes_on_with_its_state_and_nobody_hears_of_it(dummies):
    replaced_after(dummies, "replica1", "SIGKILL")
    assert noted(dummies, "replica1.boots") == [[1, 1, False], [2, 1, False]]
    replica = dummies.status()["replicas"][1]
    assert (replica["slot_state"], replica["epoch"]) == ("active", 0)
    assert set(about(dummies, 1)) == {("replica_up", 1)}
    assert ("died", "crashed with SIGKILL") in events(dummies, "replica1")
    what, detail = events(dummies, "replica1")[-1]
    assert what == "is back"
    assert detail.endswith("with 7 connections")


def test_what_a_replica_was_at_is_blamed_when_it_died_by_its_own_doing(dummies):
    for number in ("SIGSEGV", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGKILL"):
        replaced_after(dummies, "replica0", number)
    blamed = [blame for _, _, blame in noted(dummies, "replica0.boots")]
    assert blamed == [False, True, True, True, False, False]
    assert {state for _, state, _ in noted(dummies, "replica0.boots")} == {1}


@pytest.mark.parametrize("name", ["replica2", "driver"])
def test_kills_from_outside_never_delay(dummies, name):
    for _ in range(6):
        replaced_after(dummies, name, "SIGKILL")
    replaced_after(dummies, name, "SIGSEGV")  # the first crash
    assert not [e for e in dummies.status()["events"] if "again_s" in e]


def test_state_that_kills_two_successors_is_given_up(dummies):
    (dummies.behaviour / "replica0.crash").touch()
    pid = dummies.pids()["replica0"]
    dummies.neat("kill", "replica0")
    wait_for(lambda: len(noted(dummies, "replica0.boots")) >= 4, 20, "a third successor")
    (dummies.behaviour / "replica0.crash").unlink()
    wait_replaced(dummies, "replica0", pid)
    states = [state for _, state, _ in noted(dummies, "replica0.boots")]
    assert states[:4] == [1, 1, 1, 4]
    assert "lost its state" in [what for what, _ in events(dummies, "replica0")]
    assert dummies.status()["replicas"][0]["epoch"] >= 1
    heard = about(dummies, 0)
    assert heard[-1] == ("replica_up", states[-1])
    assert ("replica_down", 1) in heard


def test_killed_successors_do_not_cost_the_state(dummies):
    (dummies.behaviour / "replica0.mute").touch()
    for n in range(2, 6):
        pid = dummies.pids()["replica0"]
        dummies.neat("kill", "replica0")
        wait_for(lambda n=n: len(noted(dummies, "replica0.boots")) >= n, 20, "a successor")
        wait_for(lambda pid=pid: dummies.pids()["replica0"] not in (pid, None), 20, "which is known")
    assert {state for _, state, _ in noted(dummies, "replica0.boots")} == {1}


def test_refused_state_is_given_up_with_the_reason(dummies):
    (dummies.behaviour / "replica1.refuse").touch()
    replaced_after(dummies, "replica1", "SIGKILL")
    assert noted(dummies, "replica1.boots") == [[1, 1, False], [2, 1, False], [3, 3, False]]
    assert ("lost its state", "refused: of another version") in events(dummies, "replica1")
    assert dummies.status()["replicas"][1]["epoch"] == 1


def test_number_of_the_state_outlives_the_supervisor(dummies):
    replaced_after(dummies, "replica2", "SIGKILL")
    pids = dummies.pids()
    os.kill(pids["supervisor"], signal.SIGKILL)
    wait_replaced(dummies, "supervisor", pids["supervisor"])
    replaced_after(dummies, "replica2", "SIGKILL")
    pids = dummies.pids()
    for name in ("supervisor", "replica2"):
        os.kill(pids[name], signal.SIGKILL)
    wait_replaced(dummies, "replica2", pids["replica2"])
    boots = noted(dummies, "replica2.boots")
    assert {state for _, state, _ in boots} == {1}
    assert len({incarnation for incarnation, _, _ in boots}) == len(boots)
    assert dummies.status()["replicas"][2]["epoch"] == 0
    assert set(about(dummies, 2)) == {("replica_up", 1)}


def test_restart_goes_on_with_the_state(dummies):
    dummies.neat("restart", "replica0")
    assert noted(dummies, "replica0.stops") == [True]
    assert noted(dummies, "replica0.boots") == [[1, 1, False], [2, 1, False]]
    dummies.neat("down")
    assert noted(dummies, "replica0.stops") == [True, False]


def test_new_flows_go_to_the_others_when_a_replica_stays_away(dummies):
    (dummies.behaviour / "replica1.mute").touch()
    dummies.neat("kill", "replica1")

    def away():
        replica = dummies.status()["replicas"][1]
        return replica["slot_state"] == "terminating" and replica

    replica = wait_for(away, 20, "its share is given away")
    assert (replica["share"], replica["epoch"]) == (0, 0)
    (dummies.behaviour / "replica1.mute").unlink()
    dummies.neat("restart", "replica1")
    replica = dummies.status()["replicas"][1]
    assert (replica["slot_state"], replica["epoch"]) == ("active", 0)
    assert {state for _, state, _ in noted(dummies, "replica1.boots")} == {1}


def held(stack: Stack, name: str) -> int:
    """The pid of its holder; the replica has been replaced by one that has it."""
    (stack.behaviour / f"{name}.holds").touch()
    replaced_after(stack, name, "SIGKILL")
    pid = stack.pids()[name]
    fds = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    (path,) = [path for path in fds if os.readlink(path).startswith(f"/memfd:neat:state{name[-1]}")]
    with open(path, "rb") as state:
        return sizes.holder_of(state.fileno())[0]


def test_holder_outlives_replica_and_supervisor_but_not_the_state(dummies):
    holder = held(dummies, "replica1")
    replaced_after(dummies, "replica1", "SIGKILL")
    pids = dummies.pids()
    for name in ("supervisor", "replica1"):
        os.kill(pids[name], signal.SIGKILL)
    wait_replaced(dummies, "replica1", pids["replica1"])
    assert alive(holder)
    (dummies.behaviour / "replica1.holds").unlink()
    (dummies.behaviour / "replica1.refuse").touch()
    replaced_after(dummies, "replica1", "SIGKILL")
    wait_for(lambda: not alive(holder), 10, "the holder of a lost state is gone")


def test_holder_of_what_is_over_is_an_orphan(dummies):
    holder = held(dummies, "replica0")
    replaced_after(dummies, "replica0", "SIGKILL")
    (dummies.behaviour / "replica0.refuse").touch()
    pids = dummies.pids()
    os.kill(pids["supervisor"], signal.SIGSTOP)  # it hears of nothing, and the guardian ends it
    os.kill(pids["replica0"], signal.SIGKILL)
    (dummies.behaviour / "replica0.holds").unlink()
    wait_replaced(dummies, "replica0", pids["replica0"])
    wait_for(lambda: not alive(holder), 10, "the holder is gone")


@pytest.mark.parametrize("end", ["down", "kill"])
def test_holders_end_with_the_stack(dummies, end):
    holder = held(dummies, "replica2")
    replaced_after(dummies, "replica2", "SIGKILL")
    pids = {*descendants(dummies.guardian), dummies.guardian}
    assert holder in pids
    if end == "down":
        dummies.neat("down")
    else:
        for pid in sorted(pids - {holder}):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not [pid for pid in pids if alive(pid)], 10, "every process gone")


def test_successor_that_is_stopped_before_it_is_ready_is_replaced_and_the_state_goes_on(dummies):
    (dummies.behaviour / "replica1.mute").touch()
    pid = dummies.pids()["replica1"]
    dummies.neat("kill", "replica1")
    wait_for(lambda: dummies.pids()["replica1"] not in (pid, None), 20, "a successor")
    (dummies.behaviour / "replica1.mute").unlink()
    os.kill(dummies.pids()["replica1"], signal.SIGSTOP)
    wait_replaced(dummies, "replica1", pid)
    boots = noted(dummies, "replica1.boots")
    assert {(state, blame) for _, state, blame in boots} == {(1, False)}
    assert [what for what, _ in events(dummies, "replica1")].count("hung") == 1
