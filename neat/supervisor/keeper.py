"""The keeper: it starts components, watches them, takes leave of them, and starts them again.

Starting and recovering are one path: `_start` makes an incarnation of a component, `_on_death` takes leave of
one and plans the next. Whoever has a keeper calls `turn` when `due_at` has come, and whatever the selector
says.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from neat import parts
from neat.boot import Boot
from neat.shm.board import BoardReader, BoardWriter
from neat.shm.segment import SegmentError
from neat.shm.steering import Steering
from neat.supervisor import process
from neat.supervisor.component import Component, Phase
from neat.supervisor.component import modules as component_modules
from neat.supervisor.crashes import Crashes
from neat.supervisor.events import EventLog, trim_log
from neat.supervisor.inventory import Inventory
from neat.supervisor.judgement import Judgement
from neat.supervisor.lookout import BROKEN_LINK, Lookout
from neat.supervisor.quarantine import Quarantine
from neat.supervisor.recovery import Death, States, describe_death
from neat.supervisor.slots import Slots
from neat.supervisor.standby import Standbys

STARTING_S = 10.0  # patience with a component that does not get ready
STOPPING_S = 2.0  # and with one that was told to end
ABSENT_S = 1.0  # a replica that is down for longer leaves new flows to the others
NICE_STARTING, NICE_READY = -10, 0  # of a component: who is awaited goes first


class Keeper:
    """The processes of all components, on somebody else's selector."""

    def __init__(
        self,
        boot: Boot,
        components: dict[str, Component],
        inventory: Inventory,
        selector: selectors.BaseSelector,
        events: EventLog,
        page: BoardWriter,
        *,
        on_change: Callable[[], None],
        on_rows: Callable[[Component, dict[str, Any]], None],
        on_parted: Callable[[Component], None],
        on_adopted: Callable[[Component, dict[str, Any]], None],
    ) -> None:
        """`boot`: the supervisor's own. `on_change`: a component got ready, or died, or could not be started.
        `on_rows`: it said something that has `rows` (neat/supervisor/questions.py). `on_parted`: a replica
        that was leaving is gone, and no component any more. `on_adopted`: one has taken over what another
        had (neat/supervisor/handover.py)."""
        self.boot = boot
        self.components = components
        self.inventory = inventory
        self.selector = selector
        self.events = events
        self.page = page
        self.on_change = on_change
        self.on_rows = on_rows
        self.on_parted = on_parted
        self.on_adopted = on_adopted
        self.env = process.environment()
        fds, config = inventory.fds, boot.config
        self.board = BoardReader(fds["board"])
        steering = Steering(fds["steering"], config.flow_entries, writable=True)
        self.slots = Slots(steering, fds["bell.driver"], components["syscall"])
        self.stateful = config.recovery == "stateful"
        self.states = States(inventory, stateful=self.stateful)
        modules = {component.module for component in components.values()}
        if config.has_parts:  # there may be some later
            modules.add(component_modules()["ip"])
        self.standbys = Standbys(config.standby, modules, boot, self.env, selector, self.all_running)
        self.lookout = Lookout(self.board, fds, config, page)
        self.watch = self.lookout.watch
        self.judgement = Judgement(config, self.board.counter)
        self.buffer = bytearray(1 << 18)  # of one message
        quarantine = Quarantine(steering, str(config.interface.ip))
        self.crashes = Crashes(config, self.board, fds, events, quarantine)
        self.next_look = 0.0
        self.ending = False  # nothing is started any more

    # What it is asked for

    def begin(self, adopted: Iterable[Component]) -> None:
        """Go on with the processes that run already (neat/supervisor/adopt.py), and start the others."""
        now = time.monotonic()
        for component in self.components.values():
            self.states.find(component)
        for component in adopted:
            self._watch_process(component)
            if component.phase is Phase.RUNNING:
                self._serve(component)
            else:
                component.kill_at = now + STARTING_S
        for component in list(self.components.values()):
            if component.phase is Phase.DOWN and self._may_part(component) and not component.state:
                self._void_and_part(component)
            elif component.phase is Phase.DOWN:
                component.start_at = now
                if self.stateful and component.state:
                    component.absent_at = now + ABSENT_S
                elif component.incarnation:
                    self.slots.void(component)
        self.slots.steering.rebuild()  # a predecessor may have died between two writes
        self._changed()

    def add(self, replica: Component) -> None:
        """One more, or a part of one, in a slot where there was none. It gets packets when it has all its
        sockets, and all its parts run."""
        replica.incarnation = self.events.incarnations.get(replica.name, 0)
        self.components[replica.name] = replica
        replica.start_at = time.monotonic()

    def stay(self, replica: Component) -> None:
        """It was leaving, and is not any more."""
        for part in self._whole(replica):
            part.leaving = False
        if replica.handing and replica.phase is Phase.DOWN:
            replica.start_at = time.monotonic()
        self._serve(replica)

    def leave(self, replica: Component) -> None:
        """It gets nothing new. Whoever sees that it has nothing left says `part`."""
        for part in self._whole(replica):
            part.leaving = True
        self.slots.absent(replica)
        if replica.phase is Phase.DOWN and not replica.state:
            self._void_and_part(replica)

    def share(self) -> None:
        """Who adds replicas, or lets some leave or stay, says so when all of that is done: those that stay
        share the local ports anew."""
        self.slots.share(self.components.values())

    def part(self, replica: Component) -> None:
        """It has nothing left: end it, and its state, however it dies."""
        replica.state_fault = "it had nothing left"
        self._stop(replica, stay=False)

    def hand_over(self, replica: Component) -> None:
        """End it, but not its state: that is for another one, which is to say `inherited`."""
        replica.handing = True
        self._stop(replica)

    def inherited(self, replica: Component) -> None:
        """It is down, and others have what it had."""
        self._give_up(replica)
        self._part_with(replica)

    def _give_up(self, component: Component) -> None:
        self.states.give_up(component, self.slots.void, {other.pid for other in self.components.values()})

    def _void_and_part(self, replica: Component) -> None:
        self.slots.void(replica)
        self._part_with(replica)

    def _part_with(self, replica: Component) -> None:
        """It is dead and void: forget it, and end its other parts."""
        self.slots.gone(replica)
        self.inventory.forget(replica)
        del self.components[replica.name]
        if not replica.steered:
            return
        for part in self._whole(replica):
            if part.phase is Phase.DOWN:
                self._void_and_part(part)
            else:
                self.part(part)
        self.on_parted(replica)

    def _whole(self, component: Component) -> list[Component]:
        """All parts of the replica that it is, or is a part of."""
        home = component.home
        return [c for c in self.components.values() if home is not None and c.home == home]

    def _may_part(self, component: Component) -> bool:
        """Whether it ends with its state: it leaves, and is no IP part that others still need."""
        whole = self._whole(component)
        return component.leaving and (component.slot is not None or not any(c.steered for c in whole))

    def _serve(self, component: Component) -> None:
        """It runs: its replica takes packets if all of it does."""
        whole = self._whole(component)
        if all(part.phase is Phase.RUNNING for part in whole):
            for part in whole:
                self.slots.active(part)

    def restart(self, component: Component) -> None:
        """End and start, on request: it counts as no crash."""
        if component.phase is Phase.DOWN:
            component.start_at = time.monotonic()
        else:
            self._stop(component)

    def end(self) -> None:
        """Every component is told to end, and none is started again."""
        self.ending = True
        self.standbys.drop()
        for component in self.components.values():
            self._stop(component)

    def kill_all(self) -> None:
        """At once, be it stopped or spinning."""
        for component in self.components.values():
            if component.phase is not Phase.DOWN:
                component.signal(signal.SIGKILL)
        self.standbys.drop()

    def all_running(self) -> bool:
        return all(component.phase is Phase.RUNNING for component in self.components.values())

    def all_down(self) -> bool:
        return all(component.phase is Phase.DOWN for component in self.components.values())

    def due_at(self) -> float:
        """When `turn` has something to do, at the latest."""
        times = [at for c in self.components.values() for at in (c.start_at, c.absent_at) if at is not None]
        return min([self.next_look, *times])

    def turn(self) -> None:
        """Starts that are due, and the look at what runs."""
        now = time.monotonic()
        for component in list(self.components.values()):
            if component.start_at is not None and component.start_at <= now:
                self._try_to_start(component)
            if component.absent_at is not None and component.absent_at <= now:
                component.absent_at = None
                self.slots.absent(component)
        if not any(component.phase is Phase.STARTING for component in self.components.values()):
            self.crashes.write()  # who is awaited goes first
        if time.monotonic() >= self.next_look:
            self._look()

    # Start

    def _try_to_start(self, component: Component) -> None:
        """A failure to start is a death like any other."""
        try:
            self._start(component)
        except (OSError, SegmentError) as error:
            self._on_failed_start(component, str(error))

    def _start(self, component: Component) -> None:
        """Exec a new incarnation, before anything that can be done later."""
        now = time.monotonic()
        component.start_at = None
        component.kill_reason, component.kill_own = "", False
        component.wanted = component.handing = False
        component.incarnation = self.events.next_incarnation(component.name, component.incarnation)
        if component.slot is not None and not component.state:
            self.events.save()  # no second state may have its number
            self.states.begin(component)
        self.slots.starting(component)
        self._exec(component)
        self.watch.forget(component.name)
        component.phase = Phase.STARTING
        component.started_at = now
        component.kill_at = now + STARTING_S
        component.policy.started(now)
        self._watch_process(component)
        if component.kind == "syscall":
            self.slots.say_again(self.components.values())
        self.page.count("components_started")
        self.events.save()
        trim_log()

    def _exec(self, component: Component) -> None:
        """A process with the descriptors of this component, a standby where there is one. Nobody has waited
        so far for one that is new: it leaves the last standby to who fails meanwhile."""
        fds = self.inventory.for_component(component)
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own = [peer.detach()]
        fds |= {"ctl": own[0], "lifeline": self.boot.fds["lifeline"]}
        if component.kind == "syscall":
            fds["store"] = self.inventory.syscall_store()
            own.append(fds["store"])
        boot = Boot(
            component.name,
            component.incarnation,
            self.boot.config,
            fds,
            self.boot.secret,
            component.state,
            component.blame,
        )
        try:
            child = self._take_standby(component, boot)
            if child is None:
                child = process.start(component.module, boot, self.env, sys.stderr.fileno())
                process.set_priority(child.pid, NICE_STARTING)
        finally:
            for fd in own:
                os.close(fd)
        self.inventory.replace(f"ctl.{component.name}", ours.detach())
        component.attach(child.pid, child)

    def _take_standby(self, component: Component, boot: Boot) -> subprocess.Popen[bytes] | None:
        standby = self.standbys.take(component.module, boot, leave=not component.died_at)
        if standby is None:
            return None
        component.line = standby.line
        return standby.popen

    def _on_failed_start(self, component: Component, why: str) -> None:
        now = time.monotonic()
        component.policy.started(now)
        component.start_at = now + max(component.policy.died(now), 0.1)
        component.failed_starts += 1
        self.page.count("start_failures")
        self.events.record(component.name, "could not be started", why)
        self._changed()

    # What a process says, and its death

    def _watch_process(self, component: Component) -> None:
        """Hear of its death and of what it says; the descriptors are those of its incarnation."""
        self.selector.register(component.pidfd, selectors.EVENT_READ, lambda: self._on_death(component))
        component.ctl = socket.socket(fileno=os.dup(self.inventory.fds[f"ctl.{component.name}"]))
        component.ctl.setblocking(False)
        self.selector.register(component.ctl, selectors.EVENT_READ, lambda: self._on_message(component))

    def _on_message(self, component: Component) -> None:
        message = self._read(component)
        if message is None:
            return
        if message.get("event") == "ready" and component.phase is Phase.STARTING:
            self._on_ready(component, message.get("connections"))
        elif message.get("event") == "adopted":
            self.on_adopted(component, message)
        elif "rows" in message:
            self.on_rows(component, message)
        else:
            self._note_fault(component, message)

    def _read(self, component: Component) -> dict[str, Any] | None:
        """Its next message, empty where that makes no sense; None when there is none."""
        if component.ctl is None:
            return None
        try:
            data = bytes(self.buffer[: component.ctl.recv_into(self.buffer)])
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:  # its end is closed: it is about to die, or misbehaves; the pidfd tells which
            self._drop_ctl(component)
            return None
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return {}
        return message if isinstance(message, dict) else {}

    def _note_fault(self, component: Component, message: dict[str, Any]) -> None:
        """A replica that cannot go on with the state of its predecessor says so before it exits."""
        if message.get("event") == "refused" and component.slot is not None:
            component.state_fault = f"refused: {message.get('why')}"

    def _drop_ctl(self, component: Component) -> None:
        if component.ctl is not None:
            self.selector.unregister(component.ctl)
            component.ctl.close()
            component.ctl = None

    def _on_ready(self, component: Component, connections: Any = None) -> None:
        """It may be used from now on. `connections`: those of its predecessor that it goes on with."""
        now = time.monotonic()
        component.phase = Phase.RUNNING
        component.ready_at = now
        component.kill_at = None
        component.failed_starts = component.stillborn = 0
        component.absent_at = None
        component.blame = False
        process.set_priority(component.pid, NICE_READY)
        self._serve(component)
        since = component.died_at or component.started_at
        what = "is back" if component.died_at else "is ready"
        detail = f"pid {component.pid}"
        if isinstance(connections, int):
            detail += f", with {connections} connection{'' if connections == 1 else 's'}"
        self.events.record(component.name, what, detail, ms=(now - since) * 1000)
        self._changed()

    def _on_death(self, component: Component) -> None:
        """Its process is gone: plan the next incarnation, and start it before anything that can wait. Void
        what was its own, unless its successor goes on with that."""
        death = self._take_leave(component)
        if self.ending:
            return
        now = component.died_at
        component.blame = component.blame or death.own
        fault = self.states.fault(component, death)
        if fault:
            self._give_up(component)
            if fault == BROKEN_LINK:
                self._renew_link(component)
            if self._may_part(component):
                if not death.wanted:
                    self._note_death(component, death, fault, 0.0)
                self._part_with(component)
                return
        elif component.handing and death.wanted:
            return  # its state is at rest, for another
        else:
            component.absent_at = now + ABSENT_S
        delay = component.policy.died(now) if death.own else 0.0
        component.start_at = now + delay
        component.failed_starts += not death.was_ready
        if not delay:
            self._try_to_start(component)
        self._note_death(component, death, fault, delay)

    def _renew_link(self, component: Component) -> None:
        """Of a part that has broken the one it had: the IP part begins with the new one, too."""
        if component.part in (parts.TCP, parts.UDP):
            self.inventory.renew_link(component)
            self.lookout.forget_link(component)
            for other in self._whole(component):
                if other.part == parts.IP and other.phase is not Phase.DOWN:
                    other.kill(f"{component.name} broke its link", own=False)

    def _take_leave(self, component: Component) -> Death:
        """Hear the last of what it said, reap it, and forget the process."""
        status = component.exit_status()
        while (message := self._read(component)) is not None:
            self._note_fault(component, message)
        death = describe_death(component, status)
        self.selector.unregister(component.pidfd)
        self._drop_ctl(component)
        if not (self.ending or component.wanted):
            self.crashes.note(component, status)
        component.detach()
        component.phase = Phase.DOWN
        component.kill_at = None
        component.died_at = time.monotonic()
        return death

    def _note_death(self, component: Component, death: Death, fault: str, delay: float) -> None:
        if not death.wanted:
            self.page.count("crashes")
        self.events.record(component.name, death.what, death.cause, again_s=delay)
        if fault and self.stateful and component.slot is not None:
            self.events.record(component.name, "lost its state", fault)
        if not death.wanted:
            self._changed()

    def _changed(self) -> None:
        self.standbys.ensure()
        self.on_change()

    def _stop(self, component: Component, *, stay: bool = True) -> None:
        """Tell it to end in order; it is killed when it does not. What is down is not started again. `stay`:
        a successor goes on with its state."""
        component.start_at = None
        if component.phase in (Phase.STARTING, Phase.RUNNING):
            component.phase = Phase.STOPPING
            component.wanted = True
            component.kill_at = time.monotonic() + STOPPING_S
            stay = stay and self.stateful and not self.ending
            if not component.tell({"op": "stop", "over": self.ending} | ({"stay": True} if stay else {})):
                component.signal(signal.SIGTERM)

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
            elif component.phase in (Phase.STARTING, Phase.RUNNING):
                self.lookout.look(component, now_ns, late)
        if not late:
            self._judge(now_ns)

    def _judge(self, now_ns: int) -> None:
        found = self.judgement.look(self.components.values(), now_ns)
        if found is not None and not found.component.kill_reason:
            if found.lost:
                found.component.state_fault = "it was of no use to a successor"
            self.page.count("hangs")
            found.component.kill(found.why, own=False)
