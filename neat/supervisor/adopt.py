"""Adoption: a supervisor that was started again takes over what runs, without restarting any of it."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Mapping

from neat import rundir
from neat.shm.board import BoardReader, ComponentState, ComponentStatus
from neat.supervisor import process
from neat.supervisor.component import Component, Phase

DYING_S = 2.0  # of a process that was killed, at most


def adopt(
    components: Iterable[Component],
    board: BoardReader,
    kept: Mapping[str, int],
    holders: Collection[tuple[int, int]],
) -> list[Component]:
    """The components that run already, attached to their processes. `kept`: the descriptors that outlived
    our predecessor. `holders`: pid and start ticks of those who hold descriptors for replicas.

    Components whose board page names a living child of the guardian are ours, and so are the holders of
    replicas that died. Its other children are half-done starts of our predecessor, which nobody would ever
    watch, or who would never hear us; or holders of what is over. They are killed, and what is missing is
    started.
    """
    orphans = set(process.children(os.getppid())) - {os.getpid()}
    adopted = []
    for component in components:
        page = board.read(component.name)
        if page is None or not component.incarnation or f"ctl.{component.name}" not in kept:
            continue  # it never ran
        if page.pid not in orphans:
            component.died_at = time.monotonic()
        elif not _hung_up(kept[f"ctl.{component.name}"]) and _attach(component, page):
            adopted.append(component)
    wanted = {component.pid for component in adopted}
    wanted |= {pid for pid, ticks in holders if rundir.start_ticks(pid) == ticks}
    _end(orphans - wanted)
    return adopted


def _end(pids: Iterable[int]) -> None:
    """Kill them, and see them dead: a successor must be alone with what they had."""
    pidfds = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
            signal.pidfd_send_signal(pidfds[-1], signal.SIGKILL)
    for pidfd in pidfds:
        select.select([pidfd], [], [], DYING_S)
        os.close(pidfd)


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
