"""Who sleeps, is woken and gives way how often: context switches, wake-ups and doorbells of a run.

A process that sleeps switches voluntarily; one that yields, or that another has interrupted, does not
(getrusage(2): ru_nvcsw, ru_nivcsw). Wake-ups and doorbells are what driver and replicas have counted.

As a program it measures what one switch costs here: `python -m neat.tools.bench.switches` prints `costs()`.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from neat.tools.bench.load import GRACE_S, LoadError
from neat.tools.bench.sides import Side
from neat.tools.stack import environment

# Counters of driver and replicas, by the name that a table has for them.
COUNTED = {"woken": "wakeups", "rang": "doorbells"}

# Of the measurement of one switch: times in a batch, and batches, of which the fastest counts.
TIMES, BATCHES = 200, 20


class Switched(NamedTuple):
    slept: int
    gave_way: int


def machine() -> int:
    """Switches on all processors (proc(5), "/proc/stat")."""
    return int(Path("/proc/stat").read_text().partition("\nctxt ")[2].split()[0])


def of_process(pid: int) -> Switched:
    """Of all its threads that are there still (proc(5), "/proc/PID/status"); none when it is gone."""
    slept = gave_way = 0
    with contextlib.suppress(OSError, ValueError):
        for path in Path(f"/proc/{pid}/task").glob("*/status"):
            lines = dict(
                line.split(":", 1) for line in path.read_text().splitlines() if "ctxt_switches" in line
            )
            slept += int(lines["voluntary_ctxt_switches"])
            gave_way += int(lines["nonvoluntary_ctxt_switches"])
    return Switched(slept, gave_way)


def of_children() -> Switched:
    """Of those that have ended: the client of a run is one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Switched(usage.ru_nvcsw, usage.ru_nivcsw)


class Switches:
    """What a side's components do from now to `per`."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.pids = side.pids()
        self.before = self._now()

    def per(self, requests: int) -> dict[str, dict[str, float]]:
        """Of each component `slept`, `gave_way`, of a stack's also `woken` and `rang`, for one request; of
        "machine" `all`."""
        found = {}
        for component, counts in self._now().items():
            before = self.before.get(component, {})
            found[component] = {
                what: round((count - before.get(what, 0)) / max(requests, 1), 4)
                for what, count in counts.items()
            }
        return found

    def _now(self) -> dict[str, dict[str, int]]:
        counters = self.side.counters()
        found: dict[str, dict[str, int]] = {"machine": {"all": machine()}}
        for component, pids in self.pids.items():
            each = [of_process(pid) for pid in pids]
            found[component] = {
                "slept": sum(one.slept for one in each),
                "gave_way": sum(one.gave_way for one in each),
            }
            if component in counters:
                found[component] |= {what: counters[component][key] for what, key in COUNTED.items()}
        return found | {"client": of_children()._asdict()}


def costs_here() -> dict[str, float]:
    """`costs()`, of a process of its own. LoadError."""
    command = [sys.executable, "-m", "neat.tools.bench.switches"]
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False, timeout=GRACE_S
        )
    except subprocess.TimeoutExpired:
        raise LoadError("the measurement of a switch did not end in time") from None
    if done.returncode != 0:
        raise LoadError(f"a switch could not be measured: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def costs() -> dict[str, float]:
    """Microseconds of one switch between two processes, without the system calls that they make for it:
    `yield` to another one on the processor, `wake` one that sleeps on it, `wake_far` one that sleeps on
    another processor, until it runs. No `wake_far` where there is one processor only."""
    here, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {here})
    reading, writing = os.pipe()

    def own_calls() -> None:
        os.write(writing, b"x")
        os.read(reading, 1)

    alone, calls = fastest_us(os.sched_yield), fastest_us(own_calls)
    with another(here, os.sched_yield):
        found = {"yield": fastest_us(os.sched_yield) / 2 - alone}
    for name, processor in (("wake", here), *(("wake_far", other) for other in others[:1])):
        asked, ask = os.pipe()
        answered, answer = os.pipe()

        def echo(asked: int = asked, answer: int = answer) -> None:
            os.write(answer, os.read(asked, 1))

        def ping(ask: int = ask, answered: int = answered) -> None:
            os.write(ask, b"x")
            os.read(answered, 1)

        with another(processor, echo):
            found[name] = fastest_us(ping) / 2 - calls
    return {name: round(max(value, 0.0), 2) for name, value in found.items()}


def fastest_us(call: Callable[[], object]) -> float:
    """Microseconds of a call, in the fastest of some batches: others may have interrupted the rest."""
    best = float("inf")
    for _ in range(BATCHES):
        start = time.perf_counter_ns()
        for _ in range(TIMES):
            call()
        best = min(best, (time.perf_counter_ns() - start) / TIMES / 1e3)
    return best


@contextlib.contextmanager
def another(processor: int, call: Callable[[], object]) -> Iterator[None]:
    """A process on that processor that does nothing else meanwhile."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(GRACE_S))
        os.sched_setaffinity(0, {processor})
        while True:
            call()
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    print(json.dumps(costs()))
