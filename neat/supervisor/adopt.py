"""Adoption: a supervisor that was started again takes over what runs, without restarting any of it."""

import select
import time
from collections.abc import Collection, Iterable, Mapping

from neat import rundir
from neat.shm.board import BoardReader, ComponentState, ComponentStatus
from neat.supervisor import process
from neat.supervisor.component import Component, Phase
from neat.supervisor.recovery import orphans


def adopt(
    components: Iterable[Component],
    board: BoardReader,
    kept: Mapping[str, int],
    holders: Collection[tuple[int, int]],
) -> list[Component]:
    """The components that run already, attached to their processes. `kept`: the descriptors that outlived
    our predecessor. `holders`: pid and start ticks of those who hold descriptors for replicas.

    Components whose board page names a living child of the guardian are ours, if they hear us. Its other
    children are killed but for the holders, and what is missing is started.
    """
    left = orphans(holders)
    adopted = []
    for component in components:
        page = board.read(component.name)
        if page is None or not component.incarnation or f"ctl.{component.name}" not in kept:
            continue  # it never ran
        if page.pid not in left:
            component.died_at = time.monotonic()
        elif not _hung_up(kept[f"ctl.{component.name}"]) and _attach(component, page):
            adopted.append(component)
    process.end(left - {component.pid for component in adopted})
    return adopted


def _hung_up(ctl: int) -> bool:
    """It is that of an incarnation before: our predecessor was killed between exec and put."""
    poll = select.poll()
    poll.register(ctl, select.POLLHUP)
    return bool(poll.poll(0))


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
