"""Components on the processors that `placement` gives them (neat/placement.py): when they are ready, when
replicas come or go, and by their load. Until it is ready a process runs anywhere: somebody waits for it, and
its place may be full.

The guardian's own processors are what there is: a cpuset, or taskset(1) before `neat up`, is respected.
"""

import os
from collections.abc import Callable, Mapping

from neat import placement
from neat.config import Config
from neat.placement import PROGRAMS, Cpus
from neat.supervisor.component import Component, Phase
from neat.supervisor.events import EventLog

LOOK_S = 1.0  # between two looks at the load
KEPT = 0.7  # of what was seen before, at each look
SELF = "supervisor"


class Placement:
    def __init__(
        self,
        config: Config,
        components: Mapping[str, Component],
        load: Callable[[str], float],
        events: EventLog,
        guardian: int,
    ) -> None:
        """`load`: share of a processor that a component used over the last second."""
        self.setting = config.placement
        self.components = components
        self.load = load
        self.events = events
        self.all = tuple(sorted(os.sched_getaffinity(guardian)))
        self.cores = placement.cores(self.all)
        self.loads: dict[str, float] = {}
        self.owners: dict[str, int] = {}
        self.look_at = 0.0
        self.plan: dict[str, Cpus] = {}
        self.placed: dict[str, tuple[int, Cpus]] = {}  # pid, and where it was put
        self.refused: set[tuple[str, Cpus]] = set()  # that was said

    def turn(self, now: float) -> None:
        """Put everybody where he belongs who is not there."""
        if not self.setting:
            return
        pids = {component.name: component.pid for component in self.components.values() if component.pid}
        pids[SELF] = os.getpid()
        if self.setting == "load" and now >= self.look_at:
            self.look_at = now + LOOK_S
            self._look(pids)
        self.plan = placement.plan(self.setting, list(pids), self.cores, self.owners)
        for name, pid in pids.items():
            cpus = self.all if self._is_awaited(name) else self.plan.get(name, self.all)
            if self.placed.get(name) != (pid, cpus):
                self._place(name, pid, cpus)
        for name in [name for name in self.placed if name not in pids]:
            del self.placed[name]

    def cores_of(self, name: str) -> list[int] | None:
        """Where a component was put, or programs belong; None: anywhere."""
        if name == PROGRAMS:
            return list(self.plan[name]) if name in self.plan else None
        cpus = self.placed.get(name, (0, self.all))[1]
        return list(cpus) if cpus != self.all and (name, cpus) not in self.refused else None

    def _is_awaited(self, name: str) -> bool:
        return name != SELF and self.components[name].phase is Phase.STARTING

    def _look(self, pids: Mapping[str, int]) -> None:
        self.loads = {
            name: KEPT * self.loads.get(name, 0.0) + (1 - KEPT) * self.load(name)
            for name in pids
            if name != SELF
        }
        before, self.owners = self.owners, placement.by_load(self.loads, self.all, self.owners)
        if self.owners != before:
            who = ", ".join(f"{name} on {cpu}" for name, cpu in sorted(self.owners.items()))
            self.events.record(SELF, "places by load", f"{who or 'nobody'} alone")

    def _place(self, name: str, pid: int, cpus: Cpus) -> None:
        """A cpuset may have become smaller since: then it stays where it is, and that is said once."""
        self.placed[name] = (pid, cpus)
        try:
            os.sched_setaffinity(pid, cpus)
        except ProcessLookupError:
            pass  # it died just now
        except (OSError, ValueError) as error:
            if (name, cpus) not in self.refused:
                self.refused.add((name, cpus))
                why = error.strerror if isinstance(error, OSError) else str(error)
                self.events.record(name, "cannot be placed", f"on {placement.text_of(cpus)}: {why}")
