"""Adoption: a supervisor that was started again takes over what runs, without restarting any of it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from neat import rundir
from neat.shm.board import ComponentState
from neat.shm.steering import SlotState
from neat.supervisor import process
from neat.supervisor.component import Component, Phase

if TYPE_CHECKING:
    from neat.supervisor.core import Supervisor


def adopt(supervisor: Supervisor) -> None:
    """Components whose board page names a living child of the guardian are ours; its other children are
    half-done starts of our predecessor, which nobody would ever watch: they are killed, and started like
    any that is missing."""
    orphans = set(process.children(os.getppid())) - {os.getpid()}
    adopted = [c.name for c in supervisor.components.values() if _adopt_one(supervisor, c, orphans)]
    for component in supervisor.components.values():
        orphans.discard(component.pid)
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    for component in supervisor.components.values():
        if component.phase is Phase.DOWN and component.incarnation:
            supervisor.void_slot(component)
    supervisor.tell_slots(supervisor.components["syscall"])
    if supervisor.boot.incarnation > 1:
        supervisor.page.count("adopted", len(adopted))
        supervisor.events.record("supervisor", "is back", f"adopted {', '.join(adopted) or 'nothing'}")


def _adopt_one(supervisor: Supervisor, component: Component, orphans: set[int]) -> bool:
    component.incarnation = supervisor.events.incarnations.get(component.name, 0)
    page = supervisor.board.read(component.name)
    if page is None or not component.incarnation or f"ctl.{component.name}" not in supervisor.inventory.fds:
        return False
    if page.pid not in orphans:
        component.died_at = time.monotonic()
        return False
    try:
        component.attach(page.pid, None)
    except OSError:
        component.detach()
        return False
    if component.start_ticks != page.start_ticks or rundir.start_ticks(page.pid) != page.start_ticks:
        component.detach()
        return False
    now = time.monotonic()
    component.incarnation = max(component.incarnation, page.incarnation)
    component.policy.started(now)
    component.started_at = now
    supervisor.watch_process(component)
    if page.state == ComponentState.COMPONENT_RUNNING:
        component.phase = Phase.RUNNING
        component.ready_at = page.started_ns / 1e9
        if component.slot is not None:
            supervisor.steering.set_state(component.slot, SlotState.SLOT_ACTIVE)
    else:
        component.phase = Phase.STARTING
        component.kill_at = now + 10.0
    return True
