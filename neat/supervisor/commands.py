"""What the control socket can be asked: {"op": "status" | "ss" | "kill" | "restart" | "stop", ...}."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from neat.supervisor.component import Component, Phase
from neat.supervisor.control import CommandError, Reply, Task, until
from neat.supervisor.status import status

if TYPE_CHECKING:
    from neat.supervisor.core import Supervisor

SS_S = 1.0  # how long a replica may take to list its sockets
PROGRAMS_S = 0.3  # and the syscall server its applications
RESTART_S = 15.0
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # nobody dies of these
ROLLING_ORDER = ("syscall", "driver", "replica")


def handle(supervisor: Supervisor, request: dict[str, Any]) -> Reply | Task:
    """One request; CommandError is for the user."""
    supervisor.page.count("control_requests")
    command = COMMANDS.get(str(request.get("op")))
    if command is None:
        raise CommandError(f"unknown request {request.get('op')!r}; there are {', '.join(sorted(COMMANDS))}")
    return command(supervisor, request)


def find(supervisor: Supervisor, name: Any) -> Component:
    component = supervisor.components.get(name) if isinstance(name, str) else None
    if component is None:
        names = ", ".join([*supervisor.components, "supervisor"])
        raise CommandError(f"no component {name!r}: there are {names}")
    return component


def _status(supervisor: Supervisor, request: dict[str, Any]) -> Task:
    """The syscall server's part is null when it does not answer in time."""
    rows, answered, _missing = yield from _ask(supervisor, "syscall", "programs", PROGRAMS_S)
    state = status(supervisor)
    for key, kind in (("applications", "application"), ("refused", "refused")):
        state[key] = [row[kind] for row in rows if kind in row] if answered else None
    return {"status": state}


def _kill(supervisor: Supervisor, request: dict[str, Any]) -> Reply:
    """Send a signal (`signal`: a name or number, default SIGKILL). To the supervisor itself after the
    reply."""
    number = _signal_number(request.get("signal", "SIGKILL"))
    if request.get("component") == "supervisor":
        if number in HARMLESS:
            os.kill(os.getpid(), number)
            return {"pid": os.getpid()}
        supervisor.leaving = lambda: _die(number)
        return {"pid": os.getpid()}
    component = find(supervisor, request.get("component"))
    if component.phase is Phase.DOWN:
        raise CommandError(f"{component.name} is not running just now")
    pid = component.pid
    component.signal(number)
    return {"pid": pid}


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), number)


def _signal_number(value: Any) -> int:
    try:
        if isinstance(value, int):
            return signal.Signals(value)
        name = str(value).upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise CommandError(f"no signal {value!r}") from None


def _restart(supervisor: Supervisor, request: dict[str, Any]) -> Reply | Task:
    """One component, or with `rolling` each in turn, the next when the one before is ready again."""
    if request.get("rolling"):
        everyone = sorted(
            supervisor.components.values(), key=lambda c: (ROLLING_ORDER.index(c.kind), c.slot or 0)
        )
        return _restart_all(supervisor, everyone)
    if request.get("component") == "supervisor":
        supervisor.leave("restart was asked for")
        return {"restarted": ["supervisor"]}
    return _restart_all(supervisor, [find(supervisor, request.get("component"))])


def _restart_all(supervisor: Supervisor, components: list[Component]) -> Task:
    restarted = []
    for component in components:
        before = component.incarnation
        supervisor.restart(component)

        def ready(component: Component = component, before: int = before) -> bool:
            return component.phase is Phase.RUNNING and component.incarnation > before

        yield until(ready, RESTART_S)
        if not ready():
            raise CommandError(f"{component.name} did not get ready again within {RESTART_S:.0f} s")
        restarted.append(component.name)
    return {"restarted": restarted}


def _stop(supervisor: Supervisor, request: dict[str, Any]) -> Reply:
    """The guardian ends the stack, as for SIGTERM."""
    os.kill(os.getppid(), signal.SIGTERM)
    return {}


def _ss(supervisor: Supervisor, request: dict[str, Any]) -> Task:
    """The sockets of all replicas: `rows` as they gave them, each with `replica`; `missing`: who did not
    answer in time."""
    rows, _answered, missing = yield from _ask(supervisor, "replica", "ss", SS_S)
    return {"rows": rows, "missing": missing}


def _ask(
    supervisor: Supervisor, kind: str, op: str, seconds: float
) -> Generator[Callable[[], bool], None, tuple[list[dict[str, Any]], list[str], list[str]]]:
    """All rows of the components of that kind that run, the names of those that gave all of theirs, and of
    those that did not in time."""
    supervisor.ask_seq += 1
    seq = supervisor.ask_seq
    asked: dict[str, int] = {}
    for component in supervisor.components.values():
        running = component.kind == kind and component.phase is Phase.RUNNING
        if running and component.tell({"op": op, "seq": seq}):
            asked[component.name] = component.incarnation
    rows: list[dict[str, Any]] = []
    supervisor.ask_rows[seq] = rows
    supervisor.ask_open[seq] = waiting = set(asked)

    def nobody_will() -> bool:
        """Nobody is left who was asked and may still answer."""
        parts = [supervisor.components[name] for name in waiting]
        return not any(p.phase is Phase.RUNNING and p.incarnation == asked[p.name] for p in parts)

    try:
        yield until(nobody_will, seconds)
    finally:
        del supervisor.ask_rows[seq], supervisor.ask_open[seq]
    return rows, sorted(set(asked) - waiting), sorted(waiting)


def collect_rows(supervisor: Supervisor, component: Component, message: dict[str, Any]) -> None:
    """A part of a component's answer."""
    seq, rows = message.get("seq"), message["rows"]
    if not isinstance(seq, int) or seq not in supervisor.ask_open or not isinstance(rows, list):
        return
    origin = {} if component.slot is None else {"replica": component.slot}
    supervisor.ask_rows[seq] += [row | origin for row in rows if isinstance(row, dict)]
    if not message.get("more"):
        supervisor.ask_open[seq].discard(component.name)


COMMANDS: dict[str, Callable[[Supervisor, dict[str, Any]], Reply | Task]] = {
    "status": _status,
    "kill": _kill,
    "restart": _restart,
    "stop": _stop,
    "ss": _ss,
}
