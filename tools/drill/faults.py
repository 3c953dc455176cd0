"""Faults by a schedule: which component next, when, and how it is struck: by a pid that the stack's own
control socket names, checked to be one of its guardian's."""

import errno
import os
import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from neat.tools.stack import Stack, StackError

LOOK_S = 0.05  # between two looks at the stack
PATIENCE_S = 15.0  # until a component is back, or all are: before the next fault is due
RECENT = 8  # faults whose victims may still be missing
BACK = ("is back", "is ready", "has left")  # who was leaving is not missed
OTHERS = ("driver", "syscall", "supervisor")
CHOICES = ("replica", "ip", "udp", *OTHERS, "all", "random", "none")


@dataclass
class Fault:
    """One fault, of one component or of all at once."""

    at: float  # CLOCK_MONOTONIC
    clock: float  # time.time() then
    signal: str
    pids: dict[str, int]  # by component
    held: int = 0  # connections that there were
    hit: list[int] = field(default_factory=list)  # those that it may concern, by number
    back_ms: dict[str, float] = field(default_factory=dict)  # until each had a successor that was ready
    waited_s: float = 0.0  # that it came later than planned, as somebody was still missing

    def of_replicas(self) -> bool:
        """It concerns the connections of those replicas; any other fault is everybody's."""
        return all(name.startswith("replica") for name in self.pids)

    def concerns(self, replica: str | None) -> bool:
        """Whether a connection of this replica may notice: one of UDP has no part in any."""
        struck = {name.partition(".")[0] for name in self.pids if not name.endswith(".udp")}
        return replica in struck if self.of_replicas() else True

    def missing(self) -> list[str]:
        return [name for name in self.pids if name not in self.back_ms]


class Schedule:
    """Whom, and when. In turn and at equal intervals; with a seed, at random and between half an interval and
    one and a half."""

    def __init__(self, kill: Sequence[str], every_s: float, seed: int | None) -> None:
        self.kill = kill
        self.every_s = every_s
        self.random = random.Random(seed) if seed is not None else None
        self.count = 0

    def interval(self) -> float:
        return self.every_s * (self.random.uniform(0.5, 1.5) if self.random is not None else 1.0)

    def victims(self, components: Sequence[str]) -> list[str]:
        """The names of those to be struck now, of `components`: what there is."""
        kinds = {
            "replica": [name for name in components if re.fullmatch(r"replica\d+", name)],
            "ip": [name for name in components if name.endswith(".ip")],
            "udp": [name for name in components if name.endswith(".udp")],
        }
        what = self._one(self.kill, self.count)
        turn = self.count // len(self.kill)
        self.count += 1
        if what == "random":
            what = self._one(components, turn)
        if what in kinds:
            if not kinds[what]:
                return []
            what = self._one(kinds[what], turn)
        return list(components) if what == "all" else [what]

    def _one(self, names: Sequence[str], turn: int) -> str:
        return self.random.choice(names) if self.random is not None else names[turn % len(names)]


class Striker:
    """Strikes, and sees to it that it is known when each component was back."""

    def __init__(self, stack: Stack, signal_name: str) -> None:
        self.stack = stack
        self.signal = signal.Signals[signal_name]
        self.faults: list[Fault] = []
        self.events: dict[tuple[str, str, str], dict[str, Any]] = {}

    def look(self) -> dict[str, Any] | None:
        """The status, after its events are noted; None while the supervisor is being replaced."""
        try:
            status = self.stack.status()
        except StackError:
            return None
        for event in status["events"]:
            self.events.setdefault((event["time"], event["component"], event["what"]), event)
        now = time.monotonic()
        running = {part["name"]: part for part in status["components"] if part["state"] == "running"}
        for fault in self.faults[-RECENT:]:
            for name in fault.missing():
                self._find_back(fault, name)
                part = running.get(name)
                if name not in fault.back_ms and part is not None and part["pid"] != fault.pids[name]:
                    # The supervisor that saw it get ready died with it, or before it wrote that down.
                    fault.back_ms[name] = round(max(now - part["uptime_s"] - fault.at, 0.0) * 1e3, 1)
        return status

    def _find_back(self, fault: Fault, name: str) -> None:
        """The first event after the fault that says that `name` is ready."""
        times = [
            datetime.fromisoformat(event["time"]).timestamp()
            for event in self.events.values()
            if event["component"] == name and event["what"] in BACK
        ]
        # The log's clock has whole milliseconds.
        after = [moment for moment in times if moment >= fault.clock - 0.001]
        if after:
            fault.back_ms[name] = round(max(min(after) - fault.clock, 0.0) * 1e3, 1)

    def all_back(self) -> bool:
        """Every component runs, and none of them is one that was struck."""
        status = self.look()
        return status is not None and status["ready"] and not any(f.missing() for f in self.faults[-RECENT:])

    def wait_all(self) -> bool:
        """Until then; False when that takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.all_back():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def strike(self, names: Sequence[str], pids: dict[str, int]) -> Fault:
        """StackError when one of them is not the stack's."""
        struck: dict[str, int] = {}
        handles: list[int] = []
        try:
            for name in names:
                handles.append(open_component(self.stack.guardian, pids[name]))
                struck[name] = pids[name]
            fault = Fault(time.monotonic(), time.time(), self.signal.name, struck)
            for handle in handles:
                signal.pidfd_send_signal(handle, self.signal)
        except ProcessLookupError as error:
            raise StackError(f"{', '.join(names)}: {error.strerror}") from None
        finally:
            for handle in handles:
                os.close(handle)
        self.faults.append(fault)
        return fault

    def watch(self, until: float, alive: Callable[[], None]) -> None:
        """Until then, look who is back; `alive` raises when there is no sense in going on."""
        while (left := until - time.monotonic()) > 0:
            alive()
            if any(fault.missing() for fault in self.faults[-RECENT:]):
                self.look()
            time.sleep(min(LOOK_S, max(until - time.monotonic(), 0.0), left))


def open_component(guardian: int, pid: int) -> int:
    """A pidfd of a process of the stack: a child of its guardian, or of one of those. ProcessLookupError."""
    handle = os.pidfd_open(pid)
    parent = parent_of(pid)
    if guardian not in (parent, parent_of(parent)):
        os.close(handle)
        raise ProcessLookupError(errno.ESRCH, f"process {pid} is not a component of the stack")
    return handle


def parent_of(pid: int) -> int:
    """Field 4 of /proc/PID/stat (proc(5)); 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
