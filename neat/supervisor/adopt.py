"""Adoption: a supervisor that was started again takes over what runs, without restarting any of it."""

import os
import signal
import time
from collections.abc import Collection, Iterable

from neat import rundir
from neat.shm.board import BoardReader, ComponentState, ComponentStatus
from neat.supervisor import process
from neat.supervisor.component import Component, Phase


def adopt(components: Iterable[Component], board: BoardReader, kept: Collection[str]) -> list[Component]:
    """The components that run already, attached to their processes. `kept`: the names of the descriptors
    that outlived our predecessor.

    Components whose board page names a living child of the guardian are ours; its other children are
    half-done starts of our predecessor, which nobody would ever watch: they are killed, and started like
    any that is missing.
    """
    orphans = set(process.children(os.getppid())) - {os.getpid()}
    adopted = []
    for component in components:
        page = board.read(component.name)
        if page is None or not component.incarnation or f"ctl.{component.name}" not in kept:
            continue  # it never ran
        if page.pid not in orphans:
            component.died_at = time.monotonic()
        elif _attach(component, page):
            adopted.append(component)
    for pid in orphans - {component.pid for component in adopted}:
        os.kill(pid, signal.SIGKILL)
    return adopted


def _attach(component: Component, page: ComponentStatus) -> bool:
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
    if page.state == ComponentState.COMPONENT_RUNNING:
        component.phase = Phase.RUNNING
        component.ready_at = page.started_ns / 1e9
    else:
        component.phase = Phase.STARTING
    return True
