"""A drill's steps, against a stack that does what it is told to when the test says so."""

import threading

import pytest

from neat.tools.drill.steps import Steps, by_load
from neat.tools.stack import StackError


class Obedient:
    """Replicas that are ready at once, and leave when the test says so."""

    def __init__(self, count):
        self.slots = {f"replica{k}": False for k in range(count)}
        self.left = {}  # of those that leave, what they wait for
        self.deaf = 0  # requests that nobody answers
        self.scaled = []
        self.lock = threading.Lock()

    def ask(self, op, replicas):
        with self.lock:
            if self.deaf:
                self.deaf -= 1
                raise StackError("the supervisor is being replaced")
            assert op == "scale"
            self.scaled.append(replicas)
            names = [f"replica{k}" for k in range(16)]
            stay = [name for name, leaving in self.slots.items() if not leaving]
            kept = [name for name, leaving in self.slots.items() if leaving][: max(replicas - len(stay), 0)]
            free = [name for name in names if name not in self.slots]
            started = free[: max(replicas - len(stay) - len(kept), 0)]
            leaving = stay[replicas:]
            self.slots |= dict.fromkeys(kept + started, False) | dict.fromkeys(leaving, True)
            return {"started": started, "kept": kept, "leaving": leaving}

    def status(self):
        with self.lock:
            return {
                "ready": True,
                "replicas": [
                    {
                        "name": name,
                        "leaving": leaving,
                        "slot_state": "terminating" if leaving else "active",
                        "waits_for": self.left.get(name, {"tcp_connections": 1}) if leaving else None,
                    }
                    for name, leaving in self.slots.items()
                ],
            }

    def gone(self, *names):
        with self.lock:
            for name in names:
                del self.slots[name]


def taken(stack, *counts, before_the_end=lambda: None):
    steps = Steps(stack, counts, 0.0, StackError)
    steps.start()
    steps.thread.join()
    before_the_end()
    steps.finish()
    return steps.rows(0.0)


def test_up():
    stack = Obedient(1)
    (row,) = taken(stack, 4)
    assert (row["before"], row["count"], row["started"]) == (1, 4, ["replica1", "replica2", "replica3"])
    assert row["ready_ms"] >= 0 and row["left_ms"] is None and row["settled"] and not row["error"]


def test_down_until_the_last_has_left():
    stack = Obedient(3)
    (row,) = taken(stack, 1, before_the_end=lambda: stack.gone("replica1", "replica2"))
    assert row["leaving"] == ["replica1", "replica2"]
    assert row["left_ms"] >= row["ready_ms"] and row["settled"] and row["waits_for"] == {}


def test_who_stays_after_all_is_not_waited_for():
    stack = Obedient(3)
    down, up = taken(stack, 1, 3)
    assert up["kept"] == down["recalled"] == ["replica1", "replica2"]
    assert down["settled"] and down["left_ms"] is None and stack.scaled == [1, 3]


def test_one_of_them_stays_and_the_other_leaves():
    stack = Obedient(3)
    down, _ = taken(stack, 1, 2, before_the_end=lambda: stack.gone("replica2"))
    assert down["recalled"] == ["replica1"] and down["left_ms"] > 0


@pytest.mark.parametrize(("left", "settled"), [("tcp_time_waiting", True), ("descriptors", False)])
def test_what_the_last_ones_wait_for(monkeypatch, left, settled):
    """The end of a TIME-WAIT takes its time; anything else should be over with the load."""
    monkeypatch.setattr("neat.tools.drill.steps.LEAVING_S", 0.0)
    stack = Obedient(2)
    stack.left = {"replica1": {"tcp_connections": 0, left: 3}}
    steps = Steps(stack, (1,), 0.0, StackError)
    steps.start()
    steps.thread.join()
    steps._look()
    steps.finish()
    (row,) = steps.rows(0.0)
    assert (row["waits_for"], row["settled"]) == ({left: 3}, settled)


def test_it_is_asked_again_when_nobody_answers():
    stack = Obedient(1)
    stack.deaf = 3
    (row,) = taken(stack, 2)
    assert row["ready_ms"] > 0 and row["error"] == "" and stack.scaled == [2]


def test_what_the_stack_has_decided_itself():
    events = [
        {"time": "2", "component": "supervisor", "what": "scales from 2 to 1 replicas", "detail": "load 1 %"},
        {
            "time": "1",
            "component": "supervisor",
            "what": "scales from 1 to 2 replicas",
            "detail": "load 80 %",
        },
        {
            "time": "3",
            "component": "supervisor",
            "what": "scales from 1 to 3 replicas",
            "detail": "asked for",
        },
        {"time": "4", "component": "replica1", "what": "has left", "detail": ""},
    ]
    assert [row["why"] for row in by_load(events)] == ["load 80 %", "load 1 %"]
