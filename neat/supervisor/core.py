"""The supervisor: one loop that starts components, watches them, restarts them, and answers the command
line.

Starting and recovering are one path: `start` makes an incarnation of a component, `_on_death` takes leave
of one. The order of a turn: events (deaths, messages, commands), starts that are due, the look at
heartbeats, tasks.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neat.boot import Boot
from neat.shm.board import BoardReader, BoardWriter
from neat.shm.steering import SlotState, Steering
from neat.supervisor import commands, process
from neat.supervisor.adopt import adopt
from neat.supervisor.component import Component, Phase, all_components
from neat.supervisor.control import ControlServer
from neat.supervisor.events import EventLog
from neat.supervisor.guardian import SAYS_FAILED, SAYS_READY, SAYS_STOP
from neat.supervisor.inventory import Inventory
from neat.supervisor.policy import Verdict
from neat.supervisor.store import Store
from neat.supervisor.watch import Watch

STARTING_S = 10.0  # patience with a component that does not get ready
STOPPING_S = 2.0  # and with one that was told to end
FAILED_STARTS = 3  # a stack that comes up is given up when a component died so often without ever being ready
LOG_BYTES = 4 << 20
# Who watches and who is awaited goes first, however loaded the machine is.
NICE_WATCHER, NICE_READY = -10, 0


class Supervisor:
    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.config = boot.config
        self.directory = Path(os.environ["NEAT_RUN_DIR"])
        self.env = process.environment()
        self.selector = selectors.DefaultSelector()
        self.components = all_components(boot.config)
        self.inventory = Inventory(Store(boot.fds["store"]), boot.config, self.directory)
        self.inventory.ensure_all()
        fds = self.inventory.fds
        self.events = EventLog(fds["journal"])
        self.board = BoardReader(fds["board"])
        self.page = BoardWriter(fds["board"], "supervisor")
        self.page.announce(boot.incarnation)
        self.steering = Steering(fds["steering"], boot.config.flow_entries, writable=True)
        self.watch = Watch(boot.config.hang_ms)
        self.control = ControlServer(
            os.dup(fds["control"]), self.selector, lambda request: commands.handle(self, request)
        )
        self.guardian = socket.socket(fileno=boot.fds["ctl"])
        self.guardian.setblocking(False)
        self.announced = False  # the guardian knows that the stack is ready
        self.ending = False  # the stack ends
        self.leaving: Callable[[], None] | None = None  # this process ends; the stack goes on
        self.next_look = 0.0
        self.born = time.monotonic()
        self.ss_seq = 0
        self.ss_rows: dict[
            int, list[dict[str, Any]]
        ] = {}  # answers to `ss` that are being collected, by sequence number
        self.ss_open: dict[int, set[str]] = {}  # replicas that have not sent their last part

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
        while self.leaving is None and not (self.ending and self._all_down()):
            timeout = 0.0 if self._due(time.monotonic()) else self._patience()
            ready = self.selector.select(timeout)
            busy_since = time.monotonic_ns()
            for key, _mask in ready:
                key.data()
            self._start_due(time.monotonic())
            if time.monotonic() >= self.next_look:
                self._look()
            self.control.advance()
            self.page.busy(time.monotonic_ns() - busy_since)
            self.page.heartbeat()
        self.control.flush()
        if self.leaving is not None:
            self.leaving()

    def own_load(self) -> float:
        """Share of a CPU that this process used since it started."""
        return sum(os.times()[:2]) / max(time.monotonic() - self.born, 1e-3)

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
        sys.exit(1)

    def _announce(self) -> None:
        """Tell the guardian, once, that every component is ready; or that one of them can't get ready."""
        if self.announced or self.ending:
            return
        if all(component.phase is Phase.RUNNING for component in self.components.values()):
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
            for component in self.components.values():
                self.stop(component)

    def leave(self, why: str) -> None:
        """End this process only: the guardian starts a successor, which adopts everything."""
        self.events.record("supervisor", "leaves", why)
        self.leaving = lambda: sys.exit(0)

    # A component's life

    def start(self, component: Component) -> None:
        """Exec a new incarnation. A failure to start is a death like any other."""
        now = time.monotonic()
        component.start_at = None
        component.kill_reason = ""
        component.wanted = False
        component.incarnation = self.events.next_incarnation(component.name, component.incarnation)
        self.watch.forget(component.name)
        trim_log()
        if component.slot is not None:
            self.inventory.renew_state(component.slot)
            if self.steering.slot(component.slot).state == SlotState.SLOT_ABSENT:
                self.steering.set_state(component.slot, SlotState.SLOT_STARTING)
        fds = self.inventory.for_component(component.kind, component.slot)
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own = [peer.detach()]
        fds |= {"ctl": own[0], "lifeline": self.boot.fds["lifeline"]}
        if component.kind == "syscall":
            fds["store"] = self.inventory.syscall_store()
            own.append(fds["store"])
        boot = Boot(component.name, component.incarnation, self.config, fds, self.boot.secret)
        try:
            child = process.start(component.module, boot, self.env, sys.stderr.fileno())
        finally:
            for fd in own:
                os.close(fd)
        self.inventory.replace(f"ctl.{component.name}", ours.detach())
        component.attach(child.pid, child)
        component.phase = Phase.STARTING
        component.started_at = now
        component.kill_at = now + STARTING_S
        component.policy.started(now)
        self.watch_process(component)
        if component.kind == "syscall":
            self.tell_slots(component)
        self.page.count("components_started")
        self.events.save()

    def watch_process(self, component: Component) -> None:
        """Hear of its death and of what it says; the descriptors are those of its incarnation."""
        self.selector.register(component.pidfd, selectors.EVENT_READ, lambda: self._on_death(component))
        component.ctl = socket.socket(fileno=os.dup(self.inventory.fds[f"ctl.{component.name}"]))
        component.ctl.setblocking(False)
        self.selector.register(component.ctl, selectors.EVENT_READ, lambda: self._on_message(component))

    def _on_message(self, component: Component) -> None:
        if component.ctl is None:
            return
        try:
            data = component.ctl.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # its end is closed: it is about to die, or misbehaves; the pidfd tells which
            self._drop_ctl(component)
            return
        try:
            message = json.loads(data)
        except ValueError:
            return
        if isinstance(message, dict):
            if message.get("event") == "ready" and component.phase is Phase.STARTING:
                self.on_ready(component)
            elif "rows" in message:
                commands.collect_rows(self, component, message)

    def _drop_ctl(self, component: Component) -> None:
        if component.ctl is not None:
            self.selector.unregister(component.ctl)
            component.ctl.close()
            component.ctl = None

    def on_ready(self, component: Component) -> None:
        """It may be used from now on."""
        now = time.monotonic()
        component.phase = Phase.RUNNING
        component.ready_at = now
        component.kill_at = None
        component.failed_starts = 0
        set_priority(component.pid, NICE_READY)
        if component.slot is not None:
            self.steering.set_state(component.slot, SlotState.SLOT_ACTIVE)
            self.components["syscall"].tell(self._replica_up(component))
        since = component.died_at or component.started_at
        what = "is back" if component.died_at else "is ready"
        self.events.record(component.name, what, f"pid {component.pid}", ms=(now - since) * 1000)
        self._announce()

    def _replica_up(self, component: Component) -> dict[str, object]:
        return {"op": "replica_up", "replica": component.slot, "incarnation": component.incarnation}

    def tell_slots(self, syscall: Component) -> None:
        """A new syscall server must know which replicas are active; a new supervisor says it again."""
        for component in self.components.values():
            if component.slot is not None and component.phase is Phase.RUNNING:
                syscall.tell(self._replica_up(component))

    def _on_death(self, component: Component) -> None:
        """Its process is gone: void what was its own, and plan the next incarnation."""
        now = time.monotonic()
        status = component.exit_status()
        was_ready = component.phase is Phase.RUNNING or component.wanted
        self.selector.unregister(component.pidfd)
        self._drop_ctl(component)
        self.void_slot(component)
        component.detach()
        component.phase = Phase.DOWN
        component.kill_at = None
        component.died_at = now
        if self.ending:
            return
        if component.wanted:
            component.start_at = now
            self.events.record(component.name, "stopped", component.kill_reason)
            return
        component.start_at = now + component.policy.died(now)
        component.failed_starts += not was_ready
        self.page.count("crashes")
        cause = "status not known" if status is None else process.describe_exit(status)
        self.events.record(
            component.name, "hung" if component.kill_reason else "died", component.kill_reason or cause
        )
        self._announce()

    def void_slot(self, component: Component) -> None:
        """Stateless recovery: no new flow goes there, its old ones are void, and its applications are
        told."""
        if component.slot is not None and not self.ending:
            self.steering.set_state(component.slot, SlotState.SLOT_RECOVERING)
            self.steering.bump_epoch(component.slot)
            self.components["syscall"].tell({"op": "replica_down", "replica": component.slot})

    def stop(self, component: Component, seconds: float = STOPPING_S) -> None:
        """Tell it to end in order; it is killed when it does not. What is down is not started again."""
        component.start_at = None
        if component.phase in (Phase.STARTING, Phase.RUNNING):
            component.phase = Phase.STOPPING
            component.wanted = True
            component.kill_at = time.monotonic() + seconds
            if not component.tell({"op": "stop"}):
                component.signal(signal.SIGTERM)

    def restart(self, component: Component) -> None:
        """End and start, on request: it counts as no crash."""
        if component.phase is Phase.DOWN:
            component.start_at = time.monotonic()
        else:
            self.stop(component)

    def _start_due(self, now: float) -> None:
        for component in self.components.values():
            if component.start_at is not None and component.start_at <= now:
                try:
                    self.start(component)
                except OSError as error:
                    self._on_failed_start(component, str(error))

    def _on_failed_start(self, component: Component, why: str) -> None:
        now = time.monotonic()
        component.policy.started(now)
        component.start_at = now + max(component.policy.died(now), 0.1)
        component.failed_starts += 1
        self.page.count("start_failures")
        self.events.record(component.name, "could not be started", why)
        self._announce()

    # Watching

    def _look(self) -> None:
        """Every period: heartbeats of what runs, patience with what starts or stops."""
        now_ns = time.monotonic_ns()
        late = self.watch.begin_round(now_ns)
        self.next_look = now_ns / 1e9 + self.watch.period_ns / 1e9
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

    def _look_at(self, component: Component, now_ns: int, late: bool) -> None:
        pid, heartbeat = self.board.heartbeat(component.name)
        if pid != component.pid:
            return
        verdict, evidence = self.watch.look(component.name, heartbeat, component.stat_fd, now_ns, late)
        if verdict is not Verdict.ALIVE:
            self.page.count("hangs")
            component.kill(f"{verdict.value}, {evidence}")


def set_priority(pid: int, nice: int) -> None:
    """If we may: a stack without CAP_SYS_NICE works too, on a loaded machine with longer gaps."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)


def trim_log() -> None:
    """Keep stack.log, which is our stderr, from growing for ever: what is over the limit moves to
    stack.log.1."""
    fd = sys.stderr.fileno()
    with contextlib.suppress(OSError):
        size = os.fstat(fd).st_size
        path = os.readlink(f"/proc/self/fd/{fd}")
        if size > LOG_BYTES and path.endswith(".log"):
            with open(path, "rb") as log, open(path + ".1", "wb") as old:
                log.seek(-(LOG_BYTES // 2), os.SEEK_END)
                old.write(log.read())
            os.ftruncate(fd, 0)
