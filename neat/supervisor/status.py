"""The state of the stack as one JSON object: `neat status -j`. Names here are stable: see
neat/cli/README.md."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neat import parts, routes
from neat.boot import Boot
from neat.placement import PROGRAMS
from neat.replica.counters import DROPS
from neat.supervisor import device
from neat.supervisor.component import Component, Phase
from neat.supervisor.events import EventLog
from neat.supervisor.keeper import Keeper
from neat.supervisor.latency import UNASKED
from neat.supervisor.placement import Placement
from neat.supervisor.renewal import Renewal
from neat.supervisor.scaling import Scaling

# Counted by every part that a packet passes.
SEEN_BY_EACH = ("rx_frames", "rx_bytes", "ip_in", "ip_options", "icmp_in", "icmp_errors_in")


class Status:
    """Where it is seen: the board, the steering segment, the event log, and what the keeper knows."""

    def __init__(
        self,
        boot: Boot,
        directory: Path,
        keeper: Keeper,
        events: EventLog,
        scaling: Scaling,
        renewal: Renewal,
        placement: Placement,
        latency_asked: Callable[[], bool],
    ) -> None:
        """`boot`: the supervisor's own; `directory`: the run directory; `latency_asked`: is a CPU latency
        request made now."""
        self.boot = boot
        self.directory = directory
        self.components = keeper.components
        self.all_running = keeper.all_running
        self.board = keeper.board
        self.steering = keeper.slots.steering
        self.kernel_steers = boot.config.datapath == "queues"
        self.standbys = keeper.standbys
        self.watch = keeper.watch
        self.events = events
        self.scaling = scaling
        self.renewal = renewal
        self.placement = placement
        self.latency_asked = latency_asked

    def show(self) -> dict[str, Any]:
        config = self.boot.config
        now = time.monotonic()
        components = self.components.values()
        flows = self.steering.flow_counts() if self.kernel_steers else []
        standbys = [{"pid": s.popen.pid, "warm": s.warm} for s in self.standbys.waiting]
        return {
            "name": config.name,
            "ready": self.all_running(),
            "address": config.address,
            "gateway": config.gateway,
            "tap": config.tap,
            "datapath": config.datapath,
            "no_queues": self.boot.no_queues,
            "cpu_latency_us": None if config.cpu_latency_us == UNASKED else config.cpu_latency_us,
            "cpu_latency_asked": self.latency_asked(),
            "scaling": "auto" if self.scaling.auto else "manual",
            "restart_every_s": self.renewal.every_s or None,
            "restart_next_s": rounded(self.renewal.next_s(now)),
            "restart_left": [name for name, _incarnation in self.renewal.left],
            "placement": config.placement,
            "programs_cores": self.placement.cores_of(PROGRAMS),
            "netns": config.netns,
            "routes": [routes.check(rule) for rule in config.routes],
            "run_dir": str(self.directory),
            "guardian": {"pid": os.getppid()},
            "standby": standbys[0] if standbys else None,
            "standbys": standbys,
            "components": [self._own(now), *(self._component(c, now) for c in components)],
            "replicas": [self._replica(c, flows) for c in components if c.steered],
            "device": device.counted(config.tap),
            "driver": {"counters": self._counters("driver")},
            "syscall": {"counters": self._counters("syscall")},
            "events": list(self.events.events),
        }

    def _component(self, component: Component, now: float) -> dict[str, Any]:
        running = component.phase is Phase.RUNNING
        down = component.phase is Phase.DOWN
        pid, heartbeat = self.board.heartbeat(component.name)
        beating = pid == component.pid and not down
        start_at = component.start_at
        return {
            "name": component.name,
            "part": component.part or None,
            "replica": component.home,
            "pid": component.pid or None,
            "state": component.phase.value,
            "uptime_s": round(now - component.ready_at, 3) if running else None,
            "restarts": self.events.restarts(component.name, component.incarnation),
            "incarnation": component.incarnation,
            "load": round(self.watch.load(component.name), 3) if running else 0.0,
            "heartbeat_age_ms": round(now * 1000 - heartbeat / 1e6, 1) if beating else None,
            "starts_in_ms": round(max(start_at - now, 0) * 1000) if start_at is not None else None,
            "cores": self.placement.cores_of(component.name),
        }

    def _own(self, now: float) -> dict[str, Any]:
        page = self.board.read("supervisor")
        return {
            "name": "supervisor",
            "part": None,
            "replica": None,
            "pid": os.getpid(),
            "state": "running",
            "uptime_s": round(now - page.started_ns / 1e9, 3),
            "restarts": self.boot.incarnation - 1,
            "incarnation": self.boot.incarnation,
            "load": round(self.watch.load("supervisor"), 3),
            "heartbeat_age_ms": 0.0,
            "starts_in_ms": None,
            "cores": self.placement.cores_of("supervisor"),
        }

    def _replica(self, component: Component, flows: list[int]) -> dict[str, Any]:
        """`flows`: of each slot, where the driver does not count them."""
        assert component.home is not None
        number = component.home
        slot = self.steering.slot(number)
        whole = [other for other in self.components.values() if other.home == number]
        by_part = {other.part: self._counters(other.name) for other in whole}
        values = merged(by_part) if component.part else self._counters(component.name)
        prefix = f"{component.name}."
        by_driver = self._counters("driver")
        by_driver = {key.removeprefix(prefix): n for key, n in by_driver.items() if key.startswith(prefix)}
        if flows:
            by_driver["flows"] = flows[number]
        return {
            "name": component.name,
            "slot": number,
            "slot_state": slot.state_name,
            "epoch": slot.epoch,
            "share": slot.entries,
            "leaving": component.leaving,
            "waits_for": self.scaling.left(component) if component.leaving else None,
            "connections": values.get("tcp_connections", 0),
            "packets_in": values.get("rx_frames", 0),
            "packets_out": by_driver.get("tx_frames", 0) + values.get("queue_tx_frames", 0),
            "drops": {key: n for key, n in values.items() if key in DROPS and n},
            "counters": values,
            "driver": by_driver,
            "parts": [
                {"name": other.name, "part": other.part, "counters": by_part[other.part]}
                for other in whole
                if other.part
            ],
        }

    def _counters(self, name: str) -> dict[str, int]:
        """What the component counted on its board page; empty before it ever ran."""
        page = self.board.read(name)
        return page.counters if page is not None else {}


def rounded(seconds: float | None) -> float | None:
    return round(seconds, 3) if seconds is not None else None


def merged(by_part: dict[str, dict[str, int]]) -> dict[str, int]:
    """What a multi-component replica counted: the sum, but for what each part sees of the same packet."""
    found: dict[str, int] = {}
    for counters in by_part.values():
        for name, value in counters.items():
            found[name] = found.get(name, 0) + value
    return found | {name: by_part[parts.IP].get(name, 0) for name in SEEN_BY_EACH}
