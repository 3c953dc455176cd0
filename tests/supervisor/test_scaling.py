"""Scaling, with replicas that do nothing: who is there, who stays, and deaths in the middle of it."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest

from tests.supervisor.conftest import dummy_stack
from tests.support import wait_for

pytestmark = pytest.mark.netns


def rows(stack):
    return {row["slot"]: row for row in stack.status()["replicas"]}


def settled(stack, *slots):
    """These replicas, all running and with an even share, and no others."""

    def done():
        status = stack.status_or_none()
        if status is None or not status["ready"] or status["components"][0]["state"] != "running":
            return False
        shares = {row["slot"]: row["share"] for row in status["replicas"]}
        return set(shares) == set(slots) and max(shares.values()) - min(shares.values()) <= 1

    wait_for(done, 30, f"replicas {slots}")


def test_slots_are_used_again(dummies):
    for count in (5, 1, 16):
        dummies.neat("scale", str(count))
        settled(dummies, *range(count))
    assert {dummies.component(f"replica{k}")["incarnation"] for k in range(1, 5)} == {2}
    assert sum(row["share"] for row in rows(dummies).values()) == 128


def test_who_hears_of_it(dummies):
    dummies.neat("scale", "1")
    settled(dummies, 0)
    dummies.neat("scale", "2")

    def heard():
        return [json.loads(line) for line in (dummies.behaviour / "syscall.heard").read_text().splitlines()]

    def said():
        return [(m["op"], m["replica"]) for m in heard() if m["op"].startswith("replica")]

    wait_for(lambda: said().count(("replica_up", 1)) == 2, 10, "replica1 is up again")
    assert [m["slots"] for m in heard() if m["op"] == "slots"] == [[0, 1, 2], [0], [0, 1]]
    assert said().count(("replica_down", 2)) == 1


def warm(stack):
    return {standby["pid"] for standby in stack.status()["standbys"] if standby["warm"]}


@pytest.mark.parametrize(
    ("dummies", "wanted"), [({"standby": 1}, 1), ({"standby": 2}, 2)], indirect=["dummies"]
)
def test_new_replicas_leave_the_last_standby_to_who_fails(dummies, wanted):
    dummies.neat("scale", "1")
    settled(dummies, 0)
    wait_for(lambda: len(warm(dummies)) == wanted, 20, "the standbys")
    before = warm(dummies)
    dummies.neat("scale", "4")
    new = {dummies.component(f"replica{k}")["pid"] for k in (1, 2, 3)}
    left = before - new
    assert len(left) == 1
    old = dummies.component("replica0")["pid"]
    dummies.neat("kill", "replica0")
    wait_for(lambda: dummies.component("replica0")["pid"] not in (0, old), 10, "a successor")
    assert dummies.component("replica0")["pid"] in left


def test_it_is_in_the_log(dummies):
    dummies.neat("scale", "4")
    dummies.neat("scale", "3")
    settled(dummies, 0, 1, 2)
    found = [(e["component"], e["what"], e["detail"]) for e in dummies.status()["events"]]
    assert ("supervisor", "scales from 3 to 4 replicas", "asked for") in found
    assert ("supervisor", "scales from 4 to 3 replicas", "asked for") in found
    assert ("replica3", "has left", "") in found
    assert not [entry for entry in found if entry[1] == "died"]


def test_asking_for_what_there_is(dummies):
    pids = dummies.pids()
    assert "has 3 already" in dummies.neat("scale", "3").stdout
    assert dummies.pids() == pids


@pytest.mark.parametrize("count", ["0", "17", "-1", "1.5", "many"])
def test_what_cannot_be(dummies, count):
    done = dummies.neat("scale", "--", count, check=False)
    assert done.returncode == 1 and "must be 1 to 16" in done.stderr
    assert done.stderr.count("\n") == 1
    assert set(rows(dummies)) == {0, 1, 2}


def test_one_that_does_not_start(dummies):
    """It is said, it is tried again, and it can be given up."""
    (dummies.behaviour / "replica3.crash").touch()
    done = dummies.neat("scale", "4", check=False)
    assert done.returncode == 1 and "replica3: does not get ready" in done.stderr
    assert rows(dummies)[3]["share"] == 0
    dummies.neat("scale", "3")
    settled(dummies, 0, 1, 2)
    (dummies.behaviour / "replica3.crash").unlink()
    dummies.neat("scale", "4")
    settled(dummies, 0, 1, 2, 3)


@pytest.mark.parametrize("dummies", [{"recovery": "stateless"}, {"recovery": "stateful"}], indirect=True)
def test_killed_while_leaving(dummies):
    dummies.neat("scale", "2")
    dummies.neat("kill", "replica2", check=False)  # on a busy machine it has left by now
    settled(dummies, 0, 1)


def test_a_new_stack_begins_with_what_its_settings_say(tmp_path):
    """Whatever the one before was scaled to."""
    with dummy_stack(tmp_path, replicas=2) as stack:
        stack.neat("scale", "5")
        assert set(rows(stack)) == set(range(5))
        stack.neat("down", "--force")
        stack.neat("up", "--detach", "--owner", str(os.getpid()), "--set=replicas=2")
        assert set(rows(stack)) == {0, 1}


def test_load_decides_only_until_somebody_does(tmp_path):
    with dummy_stack(tmp_path, replicas=2, scaling="auto", scale_cooldown_ms=0) as stack:
        settled(stack, 0)  # dummies have no work
        assert stack.status()["scaling"] == "auto"
        stack.neat("scale", "2")
        settled(stack, 0, 1)
        pid = stack.component("supervisor")["pid"]
        stack.neat("kill", "supervisor")
        assert replaced(stack, pid)["scaling"] == "manual"
        stack.neat("scale", "auto")
        settled(stack, 0)


def replaced(stack, pid):
    """The status that the successor of a supervisor gives."""
    found = []

    def there():
        status = stack.status_or_none()
        if status is not None and status["components"][0]["pid"] != pid:
            found.append(status)
        return found

    wait_for(there, 10, "another supervisor")
    return found[0]


def test_the_supervisor_is_killed_at_any_time(dummies):
    """What was asked for is done in the end, or was never begun."""
    for i, count in enumerate((4, 2, 5, 3, 4, 2)):
        command = ("scale", str(count))
        asked = threading.Thread(target=dummies.neat, args=command, kwargs={"check": False})
        asked.start()
        time.sleep(0.1 + 0.02 * i)
        with contextlib.suppress(ProcessLookupError):
            os.kill(dummies.component("supervisor")["pid"], signal.SIGKILL)
        asked.join()
        wait_for(lambda: dummies.status_or_none(), 10, "a supervisor")
        dummies.neat("scale", str(count))
        settled(dummies, *range(count))
    assert len(dummies.pids()) == 2 + 3  # and supervisor, syscall server, driver
