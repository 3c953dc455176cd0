"""The supervisor: one loop over all that can happen to a stack.

The order of a turn: events (deaths, messages, commands), starts that are due, the look at heartbeats, tasks.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neat import rundir
from neat.boot import Boot
from neat.shm.board import BoardWriter
from neat.store import Store
from neat.supervisor import device
from neat.supervisor.adopt import adopt
from neat.supervisor.commands import Commands
from neat.supervisor.component import all_components
from neat.supervisor.control import ControlServer, Reply, Task
from neat.supervisor.events import EventLog
from neat.supervisor.filtering import Filtering
from neat.supervisor.guardian import SAYS_FAILED, SAYS_READY, SAYS_STOP
from neat.supervisor.inventory import Inventory
from neat.supervisor.keeper import Keeper
from neat.supervisor.latency import UNASKED, CpuLatency, busy_ns
from neat.supervisor.placement import Placement
from neat.supervisor.process import go_first
from neat.supervisor.questions import Questions
from neat.supervisor.renewal import Renewal
from neat.supervisor.scaling import Scaling, noted_slots
from neat.supervisor.status import Status

FAILED_STARTS = 3  # a stack that comes up is given up when a component died so often without ever being ready
LEVEL_WATCHER = 2  # who watches goes first, however loaded the machine is
TASK_S = 0.02  # between two looks at what a task waits for


class Supervisor:
    """The parts, and what passes between them: the guardian's word, requests, the news of the keeper."""

    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.selector = selectors.DefaultSelector()
        self.inventory = Inventory(Store(boot.fds["store"]), boot.config, Path(os.environ["NEAT_RUN_DIR"]))
        self.inventory.ensure_all()
        self.events = EventLog(self.inventory.fds["journal"], rundir.kept(boot.config.name))
        if boot.incarnation == 1:
            self.events.begin()
        slots = noted_slots(boot.config, self.events)
        self.components = all_components(slots, boot.config)
        for name, component in self.components.items():
            component.incarnation = self.events.incarnations.get(name, 0)
            component.leaving = not slots.get(component.home, True) if component.home is not None else False
        self.page = BoardWriter(self.inventory.fds["board"], "supervisor")
        self.page.announce(boot.incarnation)
        self.guardian = socket.socket(fileno=boot.fds["ctl"])
        self.guardian.setblocking(False)
        self.stat_fd = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.questions = Questions(self.components)
        self.keeper = Keeper(
            boot,
            self.components,
            self.inventory,
            self.selector,
            self.events,
            self.page,
            on_change=self._announce,
            on_rows=self.questions.answered,
            on_parted=lambda replica: self.scaling.parted(replica),
            on_adopted=lambda heir, message: self.scaling.handover.adopted(heir, message),
        )
        self.scaling = Scaling(boot.config, self.keeper, self.events)
        fds = self.inventory.fds
        self.filtering = Filtering(boot.config, fds["filter"], fds["track"], self.events.kept)
        self.renewal = Renewal(
            boot.config,
            self.components,
            self.keeper.standbys,
            self.keeper.restart,
            self.events,
            time.monotonic(),
        )
        self.placement = Placement(
            boot.config, self.components, self.keeper.watch.load, self.events, os.getppid()
        )
        self._steer()
        self.latency = CpuLatency(boot.config.cpu_latency_us)
        status = Status(
            boot,
            self.inventory.directory,
            self.keeper,
            self.events,
            self.scaling,
            self.renewal,
            self.placement,
            lambda: self.latency.asked,
        )
        self.commands = Commands(
            self.keeper, self.questions, status, self.scaling, self.filtering, self.renewal, self._leave
        )
        listener = os.dup(self.inventory.fds["control"])
        self.control = ControlServer(listener, self.selector, self._on_request)
        self.announced = False  # the guardian knows that the stack is ready
        self.leaving: Callable[[], None] | None = None  # this process ends so; the stack goes on

    def run(self) -> None:
        go_first(os.getpid(), LEVEL_WATCHER)
        self._listen()
        self._adopt()
        while self.leaving is None and not (self.keeper.ending and self.keeper.all_down()):
            ready = self.selector.select(self._patience())
            busy_since = time.monotonic_ns()
            for key, _mask in ready:
                key.data()
            self.keeper.turn()
            self.scaling.turn()
            self.filtering.turn()
            if not self.keeper.ending:
                self.renewal.turn(time.monotonic(), busy=self.control.busy)
            self.placement.turn(time.monotonic())
            self.control.advance()
            now = time.monotonic_ns()
            self.keeper.watch.note_load("supervisor", self.stat_fd, now)
            self._look_at_latency(now)
            self.page.busy(now - busy_since)
            self.page.heartbeat()
        self.keeper.standbys.drop()
        self.control.flush()
        if self.leaving is not None:
            self.leaving()

    def _steer(self) -> None:
        """By the program of the code that is installed now, before any slot is open: without it no stack
        comes up. If one is open the kernel has a program already, and goes on with that."""
        fds = self.inventory.fds
        try:
            device.steer(fds["tap"], fds["steering"], self.boot.config)
        except OSError as error:
            if not any(slot.state for slot in self.keeper.slots.steering.slots()):
                self.guardian.send(SAYS_FAILED + f"the kernel does not take the steering: {error}".encode())
                raise
            self.events.record("supervisor", "cannot renew the steering", str(error))

    def _look_at_latency(self, now: int) -> None:
        if self.latency.microseconds == UNASKED:
            return
        try:
            names = [name for name, component in self.components.items() if component.home is not None]
            self.latency.look(busy_ns(self.keeper.board, names), now)
        except OSError as error:
            self.events.record("supervisor", "cannot ask for a CPU latency", str(error))
            self.latency = CpuLatency(UNASKED)

    def _patience(self) -> float:
        """Seconds until something is due at the latest."""
        left = max(0.0, self.keeper.due_at() - time.monotonic())
        return min(TASK_S, left) if self.control.busy else left

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
        self.selector.register(reader, selectors.EVENT_READ, lambda: self._leave("told by SIGTERM", sys.exit))
        self.selector.register(self.guardian, selectors.EVENT_READ, self._on_guardian)
        self.selector.register(self.boot.fds["lifeline"], selectors.EVENT_READ, self._on_lifeline)

    def _adopt(self) -> None:
        kept, holders = self.inventory.fds, self.keeper.states.holders()
        adopted = adopt(self.components.values(), self.keeper.board, kept, holders)
        if self.boot.incarnation == 1 and self.boot.no_queues:
            self.events.record("supervisor", "datapath is the driver", self.boot.no_queues)
        elif self.boot.incarnation > 1:
            self.page.count("adopted", len(adopted))
            names = ", ".join(component.name for component in adopted)
            self.events.record("supervisor", "is back", f"adopted {names or 'nothing'}")
        self.page.running()
        self.keeper.begin(adopted)

    def _on_request(self, request: dict[str, Any]) -> Reply | Task:
        self.page.count("control_requests")
        return self.commands.handle(request)

    # The guardian

    def _on_guardian(self) -> None:
        try:
            message = self.guardian.recv(64)
        except BlockingIOError:
            return
        if message == SAYS_STOP and not self.keeper.ending:
            self.events.record("supervisor", "ends the stack")
            self.keeper.end()
        elif not message:
            self._on_lifeline()

    def _on_lifeline(self) -> None:
        """The guardian is gone, so the stack is over: leave nothing behind."""
        self.keeper.kill_all()
        sys.exit(1)

    def _announce(self) -> None:
        """Tell the guardian, once, that every component is ready, or that one can't get ready."""
        if self.announced or self.keeper.ending:
            return
        if self.keeper.all_running():
            self.announced = True
            self.guardian.send(SAYS_READY)
        for component in self.components.values():
            if component.failed_starts >= FAILED_STARTS and self.boot.incarnation == 1:
                last = self.events.events[-1]["detail"] if self.events.events else ""
                reason = f"{component.name} died {component.failed_starts} times before it was ready ({last})"
                self.announced = True
                self.guardian.send(SAYS_FAILED + reason.encode())

    def _leave(self, why: str, end: Callable[[], None]) -> None:
        """End this process only, by `end`, after this turn: the guardian starts a successor, which adopts
        everything. `why` is for the log, if that is to say something."""
        if why:
            self.events.record("supervisor", "leaves", why)
        self.leaving = end
