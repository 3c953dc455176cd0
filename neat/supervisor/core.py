"""The supervisor: one loop over all that can happen to a stack, on top of the keeper of its components.

The order of a turn: events (deaths, messages, commands), starts that are due, the look at heartbeats, tasks.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from neat.boot import Boot
from neat.shm.board import BoardReader
from neat.supervisor import commands
from neat.supervisor.adopt import adopt
from neat.supervisor.component import Component, Phase
from neat.supervisor.control import ControlServer
from neat.supervisor.guardian import SAYS_FAILED, SAYS_READY, SAYS_STOP
from neat.supervisor.keeper import STARTING_S, Keeper, set_priority
from neat.supervisor.policy import Verdict

FAILED_STARTS = 3  # a stack that comes up is given up when a component died so often without ever being ready
SETTLED_S = 0.5  # after which the driver has surely mended the link of a new replica
NICE_WATCHER = -10  # who watches, and who is awaited, goes first, however loaded the machine is


class Supervisor(Keeper):
    def __init__(self, boot: Boot) -> None:
        super().__init__(boot)
        self.board = BoardReader(self.inventory.fds["board"])
        listener = os.dup(self.inventory.fds["control"])
        self.control = ControlServer(listener, self.selector, lambda request: commands.handle(self, request))
        self.guardian = socket.socket(fileno=boot.fds["ctl"])
        self.guardian.setblocking(False)
        self.announced = False  # the guardian knows that the stack is ready
        self.leaving: Callable[[], None] | None = None  # this process ends; the stack goes on
        self.next_look = 0.0
        self.born = time.monotonic()
        self.own_load = 0.0  # share of a CPU that this process used in its last full second
        self._load_since = (self.born, sum(os.times()[:2]))
        self.ask_seq = 0
        self.ask_rows: dict[int, list[dict[str, Any]]] = {}  # components' answers that are being collected
        self.ask_open: dict[int, set[str]] = {}  # components that have not sent their last part

    # The loop

    def run(self) -> None:
        set_priority(os.getpid(), NICE_WATCHER)  # inherited by what is started
        self._listen()
        adopt(self)
        self.steering.rebuild()  # a predecessor may have died between two writes
        for component in self.components.values():
            if component.phase is Phase.DOWN and component.start_at is None:
                component.start_at = time.monotonic()
        self.page.running()
        self.changed()
        while self.leaving is None and not (self.ending and self._all_down()):
            timeout = 0.0 if self._due(time.monotonic()) else self._patience()
            ready = self.selector.select(timeout)
            busy_since = time.monotonic_ns()
            for key, _mask in ready:
                key.data()
            self.start_due(time.monotonic())
            if time.monotonic() >= self.next_look:
                self._look()
            self.control.advance()
            self.page.busy(time.monotonic_ns() - busy_since)
            self.page.heartbeat()
        self.drop_standby()
        self.control.flush()
        if self.leaving is not None:
            self.leaving()

    def _measure_load(self, now: float) -> None:
        since, used_before = self._load_since
        if now - since >= 1.0:
            used = sum(os.times()[:2])
            self.own_load = (used - used_before) / (now - since)
            self._load_since = (now, used)

    def _listen(self) -> None:
        """Signals, the guardian, and its lifeline."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._signals = (reader, writer)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self.selector.register(reader, selectors.EVENT_READ, lambda: self.leave("told by SIGTERM"))
        self.selector.register(self.guardian, selectors.EVENT_READ, self._on_guardian)
        self.selector.register(self.boot.fds["lifeline"], selectors.EVENT_READ, self._on_lifeline)

    def _patience(self) -> float:
        """Seconds until something is due at the latest."""
        now = time.monotonic()
        due = [self.next_look] + [c.start_at for c in self.components.values() if c.start_at is not None]
        return max(0.0, min(due) - now) if not self.control.busy else min(0.02, max(0.0, min(due) - now))

    def _due(self, now: float) -> bool:
        return any(c.start_at is not None and c.start_at <= now for c in self.components.values())

    def all_running(self) -> bool:
        return all(component.phase is Phase.RUNNING for component in self.components.values())

    def _all_down(self) -> bool:
        return all(component.phase is Phase.DOWN for component in self.components.values())

    # The guardian

    def _on_guardian(self) -> None:
        try:
            message = self.guardian.recv(64)
        except BlockingIOError:
            return
        if message == SAYS_STOP:
            self.end_stack()
        elif not message:
            self._on_lifeline()

    def _on_lifeline(self) -> None:
        """The guardian is gone, so the stack is over: leave nothing behind, be it stopped or spinning."""
        for component in self.components.values():
            if component.phase is not Phase.DOWN:
                component.signal(signal.SIGKILL)
        self.drop_standby()
        sys.exit(1)

    def changed(self) -> None:
        """Tell the guardian, once, that every component is ready, or that one can't get ready."""
        if self.all_running():
            self.ensure_standby()
        if self.announced or self.ending:
            return
        if self.all_running():
            self.announced = True
            self.guardian.send(SAYS_READY)
        for component in self.components.values():
            if component.failed_starts >= FAILED_STARTS and self.boot.incarnation == 1:
                last = self.events.events[-1]["detail"] if self.events.events else ""
                reason = f"{component.name} died {component.failed_starts} times before it was ready ({last})"
                self.announced = True
                self.guardian.send(SAYS_FAILED + reason.encode())

    def end_stack(self) -> None:
        """Every component is told to end; the loop goes on until they did."""
        if not self.ending:
            self.ending = True
            self.events.record("supervisor", "ends the stack")
            self.drop_standby()
            for component in self.components.values():
                self.stop(component)

    def leave(self, why: str) -> None:
        """End this process only: the guardian starts a successor, which adopts everything."""
        self.events.record("supervisor", "leaves", why)
        self.leaving = lambda: sys.exit(0)

    def rows_arrived(self, component: Component, message: dict[str, Any]) -> None:
        commands.collect_rows(self, component, message)

    # Watching

    def _look(self) -> None:
        """Every period: heartbeats of what runs, patience with what starts or stops."""
        now_ns = time.monotonic_ns()
        late = self.watch.begin_round(now_ns)
        self.next_look = now_ns / 1e9 + self.watch.period_ns / 1e9
        self._measure_load(now_ns / 1e9)
        for component in self.components.values():
            if component.phase is Phase.DOWN or component.kill_reason:
                continue
            if component.kill_at is not None and now_ns / 1e9 >= component.kill_at:
                starting = component.phase is Phase.STARTING
                component.kill(
                    f"not ready after {STARTING_S:.0f} s" if starting else "did not stop by itself"
                )
            elif component.phase is Phase.RUNNING:
                self._look_at(component, now_ns, late)
                self._look_at_link(component, now_ns)

    def _look_at(self, component: Component, now_ns: int, late: bool) -> None:
        pid, heartbeat = self.board.heartbeat(component.name)
        if pid != component.pid:
            heartbeat = 0  # it lies about who it is
        verdict, evidence = self.watch.look(component.name, heartbeat, component.stat_fd, now_ns, late)
        if verdict is not Verdict.ALIVE:
            self.page.count("hangs")
            component.kill(f"{verdict.value}, {evidence}")

    def _look_at_link(self, component: Component, now_ns: int) -> None:
        """A replica that broke the contract of its rings gets no packets any more, so it is replaced."""
        if component.slot is None or component.kill_reason or now_ns / 1e9 - component.ready_at < SETTLED_S:
            return
        if self.board.counter("driver", f"replica{component.slot}.broken"):
            component.kill("broke its link: the driver found a ring that makes no sense")
