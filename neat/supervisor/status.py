"""The state of the stack as one JSON object: `neat status -j`. Names here are stable: see
neat/cli/README.md."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from neat import routes
from neat.replica.counters import DROPS
from neat.supervisor.component import Component, Phase

if TYPE_CHECKING:
    from neat.supervisor.core import Supervisor


def status(supervisor: Supervisor) -> dict[str, Any]:
    config = supervisor.config
    now = time.monotonic()
    standby = supervisor.standby
    everyone = [component_status(supervisor, component, now) for component in supervisor.components.values()]
    return {
        "name": config.name,
        "ready": supervisor.all_running(),
        "address": config.address,
        "gateway": config.gateway,
        "tap": config.tap,
        "netns": config.netns,
        "routes": [routes.check(rule) for rule in config.routes],
        "run_dir": str(supervisor.directory),
        "guardian": {"pid": os.getppid()},
        "standby": {"pid": standby.popen.pid, "warm": standby.warm} if standby is not None else None,
        "components": [own_status(supervisor, now), *everyone],
        "replicas": [
            replica_status(supervisor, c) for c in supervisor.components.values() if c.slot is not None
        ],
        "driver": {"counters": counters(supervisor, "driver")},
        "syscall": {"counters": counters(supervisor, "syscall")},
        "events": list(supervisor.events.events),
    }


def component_status(supervisor: Supervisor, component: Component, now: float) -> dict[str, Any]:
    running = component.phase is Phase.RUNNING
    down = component.phase is Phase.DOWN
    pid, heartbeat = supervisor.board.heartbeat(component.name)
    beating = pid == component.pid and not down
    return {
        "name": component.name,
        "pid": component.pid or None,
        "state": component.phase.value,
        "uptime_s": round(now - component.ready_at, 3) if running else None,
        "restarts": max(component.incarnation - 1, 0),
        "incarnation": component.incarnation,
        "load": round(supervisor.watch.load(component.name), 3) if running else 0.0,
        "heartbeat_age_ms": round(now * 1000 - heartbeat / 1e6, 1) if beating else None,
        "starts_in_ms": round(max(component.start_at - now, 0) * 1000)
        if component.start_at is not None
        else None,
    }


def own_status(supervisor: Supervisor, now: float) -> dict[str, Any]:
    return {
        "name": "supervisor",
        "pid": os.getpid(),
        "state": "running",
        "uptime_s": round(now - supervisor.born, 3),
        "restarts": supervisor.boot.incarnation - 1,
        "incarnation": supervisor.boot.incarnation,
        "load": round(supervisor.own_load, 3),
        "heartbeat_age_ms": 0.0,
        "starts_in_ms": None,
    }


def replica_status(supervisor: Supervisor, component: Component) -> dict[str, Any]:
    assert component.slot is not None
    slot = supervisor.steering.slot(component.slot)
    values = counters(supervisor, component.name)
    prefix = f"{component.name}."
    by_driver = counters(supervisor, "driver")
    by_driver = {key.removeprefix(prefix): n for key, n in by_driver.items() if key.startswith(prefix)}
    return {
        "name": component.name,
        "slot": component.slot,
        "slot_state": slot.state_name,
        "epoch": slot.epoch,
        "share": slot.entries,
        "connections": values.get("tcp_connections", 0),
        "packets_in": values.get("rx_frames", 0),
        "packets_out": by_driver.get("tx_frames", 0),
        "drops": {key: n for key, n in values.items() if key in DROPS and n},
        "counters": values,
        "driver": by_driver,
    }


def counters(supervisor: Supervisor, name: str) -> dict[str, int]:
    """What the component counted on its board page; empty before it ever ran."""
    page = supervisor.board.read(name)
    return page.counters if page is not None else {}
