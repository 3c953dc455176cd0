"""What the control socket can be asked: {"op": "status", ...}; likewise ss, kill, restart, scale, filter,
stop."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from neat.filter import FilterError
from neat.supervisor.component import Component, Phase
from neat.supervisor.control import CommandError, Reply, Task, until
from neat.supervisor.filtering import Filtering
from neat.supervisor.keeper import Keeper
from neat.supervisor.questions import Questions
from neat.supervisor.renewal import LEAST_S, MOST_S, NEEDS_STATE, Renewal, in_order
from neat.supervisor.scaling import Scaling
from neat.supervisor.status import Status

FAILED_STARTS = 3  # after which nobody waits for a new replica
SS_S = 1.0  # how long a replica may take to list its sockets
PROGRAMS_S = 0.3  # and the syscall server its applications
RESTART_S = 15.0
WARM_S = 3.0  # how long a restart waits for a standby
HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # nobody dies of these


class Commands:
    def __init__(
        self,
        keeper: Keeper,
        questions: Questions,
        status: Status,
        scaling: Scaling,
        filtering: Filtering,
        renewal: Renewal,
        leave: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """`leave`: have this process end after the reply; why, and how."""
        self.keeper = keeper
        self.components = keeper.components
        self.questions = questions
        self.status = status
        self.scaling = scaling
        self.filtering = filtering
        self.renewal = renewal
        self.standbys = keeper.standbys
        self.leave = leave
        self.handlers: dict[str, Callable[[dict[str, Any]], Reply | Task]] = {
            "status": self._status,
            "kill": self._kill,
            "restart": self._restart,
            "scale": self._scale,
            "filter": self._filter,
            "stop": self._stop,
            "ss": self._ss,
        }

    def handle(self, request: dict[str, Any]) -> Reply | Task:
        """One request; CommandError is for the user."""
        handler = self.handlers.get(str(request.get("op")))
        if handler is None:
            there_are = ", ".join(sorted(self.handlers))
            raise CommandError(f"unknown request {request.get('op')!r}; there are {there_are}")
        return handler(request)

    def _find(self, name: Any) -> Component:
        component = self.components.get(name) if isinstance(name, str) else None
        if component is None:
            names = ", ".join([*self.components, "supervisor"])
            raise CommandError(f"no component {name!r}: there are {names}")
        return component

    def _status(self, request: dict[str, Any]) -> Task:
        """The syscall server's part is null when it does not answer in time."""
        programs = yield from self.questions.ask("syscall", "programs", PROGRAMS_S)
        state = self.status.show()
        for key, kind in (("applications", "application"), ("refused", "refused")):
            rows = [row[kind] for row in programs.rows if kind in row]
            state[key] = rows if programs.answered else None
        return {"status": state}

    def _kill(self, request: dict[str, Any]) -> Reply:
        """Send a signal (`signal`: a name or number, default SIGKILL). To the supervisor itself after the
        reply."""
        number = _signal_number(request.get("signal", "SIGKILL"))
        if request.get("component") == "supervisor":
            if number in HARMLESS:
                os.kill(os.getpid(), number)
            else:
                self.leave("", lambda: _die(number))
            return {"pid": os.getpid()}
        component = self._find(request.get("component"))
        if component.phase is Phase.DOWN:
            raise CommandError(f"{component.name} is not running just now")
        pid = component.pid
        component.signal(number)
        return {"pid": pid}

    def _restart(self, request: dict[str, Any]) -> Reply | Task:
        """One component, or with `rolling` each in turn, the next when the one before is ready again. With
        `every_s` that happens by itself from now on, each time so many seconds are over; 0: no more."""
        if request.get("rolling"):
            if "every_s" in request:
                return self._restart_again_and_again(request["every_s"])
            return self._restart_all(in_order(self.components.values()))
        if request.get("component") == "supervisor":
            self.leave("restart was asked for", sys.exit)
            return {"restarted": ["supervisor"]}
        return self._restart_all([self._find(request.get("component"))])

    def _restart_again_and_again(self, every_s: Any) -> Reply:
        if isinstance(every_s, bool) or not isinstance(every_s, int | float):
            raise CommandError(f"every {every_s!r} s: it must be a number")
        if every_s and not LEAST_S <= every_s <= MOST_S:
            raise CommandError(f"every {every_s:g} s: it must be 0, or {LEAST_S:g} to {MOST_S:g}")
        if every_s and not self.keeper.stateful:
            raise CommandError(NEEDS_STATE)
        self.renewal.set(float(every_s), time.monotonic())
        return {"restarted": [], "every_s": every_s}

    def _restart_all(self, components: list[Component]) -> Task:
        restarted = []
        self.standbys.renew()
        for component in components:
            yield until(lambda: self.standbys.ready, WARM_S)  # it costs nobody anything: all go on meanwhile
            before = component.incarnation
            self.keeper.restart(component)

            def ready(component: Component = component, before: int = before) -> bool:
                return component.phase is Phase.RUNNING and component.incarnation > before

            yield until(ready, RESTART_S)
            if not ready():
                raise CommandError(f"{component.name} did not get ready again within {RESTART_S:.0f} s")
            restarted.append(component.name)
        return {"restarted": restarted}

    def _scale(self, request: dict[str, Any]) -> Reply | Task:
        """`replicas`: how many there are to be, or "auto": as many as their load asks for. Answered when
        those that start are ready: who leaves takes as long as it takes."""
        if self.keeper.ending:
            raise CommandError("the stack is ending")
        count = request.get("replicas")
        if count == "auto":
            self.scaling.decide_by_load(True)
            return {"auto": True, "started": [], "kept": [], "leaving": []}
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= self.scaling.most:
            raise CommandError(f'{count!r} replicas: it must be 1 to {self.scaling.most}, or "auto"')
        return self._scale_to(count)

    def _scale_to(self, count: int) -> Task:
        self.scaling.decide_by_load(False)
        done = self.scaling.scale(count, "asked for")

        def missing() -> list[Component]:
            names = done["started"]
            homes = {self.components[name].home for name in names if name in self.components}
            there_are = [part for part in self.components.values() if part.home in homes - {None}]
            return [part for part in there_are if part.phase is not Phase.RUNNING]

        def over() -> bool:
            return all(replica.failed_starts >= FAILED_STARTS for replica in missing())

        yield until(over, RESTART_S)
        if missing():
            names = ", ".join(replica.name for replica in missing())
            raise CommandError(
                f"{names}: does not get ready, and is tried again; `neat status` has the reason"
            )
        return {"auto": False, **done}

    def _filter(self, request: dict[str, Any]) -> Reply:
        """The rules and their counters; with `do` they are changed first (`Filtering.change`)."""
        if "do" in request:
            try:
                self.filtering.change(request)
            except FilterError as error:
                raise CommandError(str(error)) from None
        return self.filtering.show()

    def _stop(self, request: dict[str, Any]) -> Reply:
        """The guardian ends the stack, as for SIGTERM."""
        os.kill(os.getppid(), signal.SIGTERM)
        return {}

    def _ss(self, request: dict[str, Any]) -> Task:
        """The sockets of all replicas: `rows` as they gave them, each with `replica`; `missing`: who did not
        answer in time."""
        sockets = yield from self.questions.ask("replica", "ss", SS_S)
        return {"rows": sockets.rows, "missing": sorted(sockets.missing)}


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
