"""The keeper: it starts components, takes leave of them, and starts them again.

Starting and recovering are one path: `start` makes an incarnation of a component, `_on_death` takes leave of
one and plans the next.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from neat.boot import Boot
from neat.shm import doorbell
from neat.shm.board import BoardWriter
from neat.shm.segment import SegmentError
from neat.shm.steering import SlotState, Steering
from neat.supervisor import process
from neat.supervisor.component import Component, Phase, all_components
from neat.supervisor.events import EventLog
from neat.supervisor.inventory import Inventory
from neat.supervisor.standby import Standby
from neat.supervisor.store import Store
from neat.supervisor.watch import Watch

STARTING_S = 10.0  # patience with a component that does not get ready
STOPPING_S = 2.0  # and with one that was told to end
LOG_BYTES = 4 << 20
NICE_STANDBY = 10  # while it gets warm
NICE_READY = 0  # of a component; until it is ready it has the supervisor's own priority


class Keeper:
    """The components and what they are made of. A subclass turns the loop and acts on changes."""

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
        self.page = BoardWriter(fds["board"], "supervisor")
        self.page.announce(boot.incarnation)
        self.steering = Steering(fds["steering"], boot.config.flow_entries, writable=True)
        self.watch = Watch(boot.config.hang_ms)
        self.standby: Standby | None = None
        self.ending = False  # the stack ends

    def changed(self) -> None:
        """A component got ready, or died."""
        raise NotImplementedError

    def rows_arrived(self, component: Component, message: dict[str, Any]) -> None:
        """A part of its answer to `ss`."""
        raise NotImplementedError

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
            child = self._take_standby(component, boot)
            if child is None:
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

    def _take_standby(self, component: Component, boot: Boot) -> subprocess.Popen[bytes] | None:
        """A process that is warm for a replica, or at least on its way; None when there is none."""
        standby = self.standby
        if component.slot is None or standby is None or not standby.alive():
            return None
        self.standby = None
        self.selector.unregister(standby.line)
        set_priority(standby.popen.pid, os.getpriority(os.PRIO_PROCESS, 0))
        if standby.become(boot):
            component.line = standby.line
            return standby.popen
        standby.end()
        return None

    def ensure_standby(self) -> None:
        """Have a process get warm for the next replica that fails, at nobody's cost."""
        if self.standby is not None and not self.standby.alive():
            self.drop_standby()
        if self.standby is None and not self.ending:
            module = self.components["replica0"].module
            self.standby = standby = Standby(module, self.boot, self.env, sys.stderr.fileno())
            set_priority(standby.popen.pid, NICE_STANDBY)
            self.selector.register(standby.line, selectors.EVENT_READ, self._on_standby)

    def _on_standby(self) -> None:
        if self.standby is not None:
            self.standby.heard()
            if not self.standby.warm:
                self.drop_standby()

    def drop_standby(self) -> None:
        if self.standby is not None:
            self.selector.unregister(self.standby.line)
            self.standby.end()
            self.standby = None

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
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict):
            if message.get("event") == "ready" and component.phase is Phase.STARTING:
                self.on_ready(component)
            elif "rows" in message:
                self.rows_arrived(component, message)

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
            doorbell.ring(self.inventory.fds["bell.driver"])
            self.components["syscall"].tell(self._replica_up(component))
        since = component.died_at or component.started_at
        what = "is back" if component.died_at else "is ready"
        self.events.record(component.name, what, f"pid {component.pid}", ms=(now - since) * 1000)
        self.changed()

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
        self.changed()

    def void_slot(self, component: Component) -> None:
        """Stateless recovery: no new flow goes there, its old ones are void, and its applications are
        told."""
        if component.slot is not None and not self.ending:
            self.steering.set_state(component.slot, SlotState.SLOT_RECOVERING)
            self.steering.bump_epoch(component.slot)
            doorbell.ring(self.inventory.fds["bell.driver"])  # it acts on the new epoch when it wakes
            gone = {"op": "replica_down", "replica": component.slot, "incarnation": component.incarnation}
            self.components["syscall"].tell(gone)

    def stop(self, component: Component, seconds: float = STOPPING_S) -> None:
        """Tell it to end in order; it is killed when it does not. What is down is not started again."""
        component.start_at = None
        if component.phase in (Phase.STARTING, Phase.RUNNING):
            component.phase = Phase.STOPPING
            component.wanted = True
            component.kill_at = time.monotonic() + seconds
            if not component.tell({"op": "stop", "over": self.ending}):
                component.signal(signal.SIGTERM)

    def restart(self, component: Component) -> None:
        """End and start, on request: it counts as no crash."""
        if component.phase is Phase.DOWN:
            component.start_at = time.monotonic()
        else:
            self.stop(component)

    def start_due(self, now: float) -> None:
        for component in self.components.values():
            if component.start_at is not None and component.start_at <= now:
                try:
                    self.start(component)
                except (OSError, SegmentError) as error:
                    self._on_failed_start(component, str(error))

    def _on_failed_start(self, component: Component, why: str) -> None:
        now = time.monotonic()
        component.policy.started(now)
        component.start_at = now + max(component.policy.died(now), 0.1)
        component.failed_starts += 1
        self.page.count("start_failures")
        self.events.record(component.name, "could not be started", why)
        self.changed()


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
