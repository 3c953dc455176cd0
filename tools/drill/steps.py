"""Replicas that come and go while a drill's load runs: `neat scale`, step by step, and how long each took.

The steps have a thread of their own, so that faults fall into them. What is asked for is a number, so a
request whose supervisor was killed is made again, to its successor.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

LOOK_S = 0.02  # between two looks at a step that is not done
PATIENCE_S = 30.0  # until all replicas of a step are ready
LEAVING_S = 20.0  # after the load's end, until those that leave have left
TIME_WAIT = "tcp_time_waiting"


class Asked(Protocol):
    """A stack, as far as it is asked here. What it raises means: ask again."""

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]: ...

    def status(self) -> dict[str, Any]: ...


@dataclass
class Step:
    """From `before` replicas to `count`; `at` is CLOCK_MONOTONIC, then milliseconds since that."""

    at: float
    before: int
    count: int
    started: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # that were leaving
    leaving: list[str] = field(default_factory=list)
    ready_ms: float | None = None  # all that stay ran; None: they never did
    left_ms: float | None = None  # the last of those that were to leave was gone
    recalled: list[str] = field(default_factory=list)  # of those that were to leave: a later step kept them
    waits_for: dict[str, int] = field(default_factory=dict)  # what those have left, in all
    error: str = ""

    def to_leave(self) -> set[str]:
        return set(self.leaving) - set(self.recalled)

    def waits(self) -> bool:
        """Somebody is to leave who has not."""
        return self.left_ms is None and bool(self.to_leave())

    def look(self, replicas: Sequence[dict[str, Any]]) -> None:
        """Note who is still there, by a status."""
        here = [row for row in replicas if row["leaving"] and row["name"] in self.to_leave()]
        left: Counter[str] = Counter()
        for row in here:
            left.update(row["waits_for"] or {})
        self.waits_for = {name: count for name, count in left.items() if count}
        if not here:
            self.left_ms = since(self.at)

    def settled(self) -> bool:
        """Nobody is to leave but who waits for the end of TIME-WAITs, which takes its time."""
        return not self.waits() or set(self.waits_for) == {TIME_WAIT}


class Steps:
    """`counts` one after another, each `every` seconds after the one before. Leave it by `finish`."""

    def __init__(self, stack: Asked, counts: Sequence[int], every: float, errors: type[Exception]) -> None:
        """`errors`: what the stack raises while its supervisor is being replaced."""
        self.stack = stack
        self.counts = counts
        self.every = every
        self.errors = errors
        self.done: list[Step] = []
        self.over = threading.Event()  # nobody wants more steps
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        if self.counts:
            self.thread.start()

    @property
    def seconds(self) -> float:
        """What they take, from the first."""
        return len(self.counts) * self.every

    def finish(self) -> None:
        """No more steps; and when the load is gone, wait for those that leave with its connections."""
        self.over.set()
        if self.thread.ident is not None:
            self.thread.join()
        deadline = time.monotonic() + LEAVING_S
        while not all(step.settled() for step in self.done) and time.monotonic() < deadline:
            self._look()
            time.sleep(LOOK_S)

    def rows(self, began: float) -> list[dict[str, Any]]:
        """For the report; `began`: of the load."""
        return [
            {"at_s": round(step.at - began, 3), "settled": step.settled()}
            | {key: value for key, value in asdict(step).items() if key != "at"}
            for step in self.done
        ]

    def _run(self) -> None:
        due = time.monotonic()
        for count in self.counts:
            while not self.over.is_set() and (left := due - time.monotonic()) > 0:
                if any(step.waits() for step in self.done):
                    self._look()
                    left = min(left, LOOK_S)
                self.over.wait(left)
            if self.over.is_set():
                return
            self._take(count)
            due += self.every

    def _take(self, count: int) -> None:
        """One step, until all replicas that stay are ready."""
        status = self._status()
        step = Step(time.monotonic(), staying(status), count)
        self.done.append(step)
        deadline = step.at + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                reply = self.stack.ask("scale", replicas=count)
            except self.errors as error:
                step.error = str(error)
                time.sleep(LOOK_S)
                continue
            self._note(step, reply)
            break
        while time.monotonic() < deadline:
            status = self._look()
            if ready(status, count):
                step.ready_ms = since(step.at)
                step.error = ""
                return
            time.sleep(LOOK_S)

    def _note(self, step: Step, reply: dict[str, Any]) -> None:
        step.started, step.kept, step.leaving = reply["started"], reply["kept"], reply["leaving"]
        if step.count < step.before and not step.leaving:  # it was the answer to a second request
            step.leaving = [row["name"] for row in self._status()["replicas"] if row["leaving"]]
        for earlier in self.done[:-1]:
            earlier.recalled += [name for name in earlier.leaving if name in step.kept]

    def _look(self) -> dict[str, Any]:
        """The status, after who has left is noted."""
        status = self._status()
        for step in self.done if status["replicas"] else []:
            if step.waits():
                step.look(status["replicas"])
        return status

    def _status(self) -> dict[str, Any]:
        """One without replicas, while there is none."""
        try:
            return self.stack.status()
        except self.errors:
            return {"ready": False, "replicas": []}


def since(at: float) -> float:
    return round((time.monotonic() - at) * 1e3, 1)


def staying(status: dict[str, Any]) -> int:
    return sum(not row["leaving"] for row in status["replicas"])


def ready(status: dict[str, Any], count: int) -> bool:
    """So many stay, and take packets."""
    return staying(status) == count and all(
        row["leaving"] or row["slot_state"] == "active" for row in status["replicas"]
    )


def by_load(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the stack itself has decided, by its log: `scaling = "auto"`."""
    found = [event for event in events if event["what"].startswith("scales from ")]
    found.sort(key=lambda event: event["time"])
    return [
        {"time": event["time"], "what": event["what"], "why": event["detail"]}
        for event in found
        if event["detail"] != "asked for"
    ]
