"""Who sleeps, is woken and gives way how often: context switches, wake-ups and doorbells of a run.

A process that sleeps switches voluntarily; one that yields, or that another has interrupted, does not
(getrusage(2): ru_nvcsw, ru_nivcsw). Wake-ups and doorbells are what driver and replicas have counted.
"""

import contextlib
import resource
from pathlib import Path
from typing import NamedTuple

from neat.tools.bench.sides import Side

# Counters of driver and replicas, by the name that a table has for them.
COUNTED = {"woken": "wakeups", "rang": "doorbells"}


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
