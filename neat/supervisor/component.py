"""One component as the supervisor knows it: what plays it, which process it is now, and how that process is
doing."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from neat import parts, rundir
from neat.config import Config
from neat.supervisor.policy import RestartPolicy

MODULES = {
    "driver": "neat.drivers",
    "syscall": "neat.syscalls",
    "replica": "neat.replica",
    "ip": "neat.replica.ip",
}


def modules() -> dict[str, str]:
    """Which module plays which kind of component; $NEAT_MODULES (JSON) replaces some, for tests and
    experiments."""
    return MODULES | json.loads(os.environ.get("NEAT_MODULES", "{}"))


class Phase(Enum):
    DOWN = "down"  # no process; starts again at start_at
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # told to end, by a restart or because the stack ends


@dataclass(eq=False)
class Component:
    name: str
    kind: str  # driver, syscall, replica (also the TCP and UDP parts of one), ip
    module: str
    slot: int | None = None  # of a replica: its own; an IP part has none
    home: int | None = None  # of a replica or a part: the slot that gets packets; if not said, `slot`
    part: str = ""  # of a multi-component replica: neat/parts.py
    phase: Phase = Phase.DOWN
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    incarnation: int = 0  # of the process
    state: int = 0  # number of the state that a replica has; 0: there is none to go on with
    blame: bool = False  # the process before died by its own doing
    pid: int = 0
    start_ticks: int = 0
    popen: subprocess.Popen[bytes] | None = None  # None when a predecessor of this supervisor started it
    pidfd: int = -1
    stat_fd: int = -1  # /proc/PID/stat: it never means another process
    ctl: socket.socket | None = None
    line: socket.socket | None = None  # over which it got its boot record, if it was a standby
    start_at: float | None = None  # when to start it, while DOWN
    started_at: float = 0.0
    ready_at: float = 0.0
    died_at: float = 0.0  # of the incarnation before; 0: there was none
    kill_at: float | None = None  # patience ends: starting too long, or told to stop too long ago
    kill_reason: str = ""  # why we killed it, if we did
    kill_own: bool = False  # that was for what it did itself
    state_fault: str = ""  # why nobody can go on with its state
    stillborn: int = 0  # deaths in a row, by their own doing, of processes with this state before `ready`
    absent_at: float | None = None  # from when on a replica that is not back gets no new flows
    wanted: bool = False  # its end was asked for: not a crash
    failed_starts: int = 0  # deaths before it was ever ready
    # leaving, and only TIME-WAITs left: once it is down another replica goes on with them
    handing: bool = False
    leaving: bool = False  # a replica that gets nothing new, and ends with the last connection that it has

    def __post_init__(self) -> None:
        if self.home is None:
            self.home = self.slot

    @property
    def steered(self) -> bool:
        """Whether its slot gets packets: it is a replica, or the TCP part that stands for one."""
        return self.slot is not None and self.slot == self.home

    @property
    def packets_to(self) -> int | None:
        """Its slot, if that gets packets."""
        return self.home if self.steered else None

    def attach(self, pid: int, popen: subprocess.Popen[bytes] | None) -> None:
        """Watch this process from now on. Raises OSError when it is gone already."""
        self.pidfd = os.pidfd_open(pid)
        self.stat_fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.pid, self.popen, self.start_ticks = pid, popen, rundir.start_ticks(pid)

    def detach(self) -> None:
        """Forget the process."""
        for fd in (self.pidfd, self.stat_fd):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.stat_fd = -1
        self.pid = self.start_ticks = 0
        self.popen = None
        if self.line is not None:
            self.line.close()
            self.line = None

    def exit_status(self) -> int | None:
        """Reap it. As subprocess's returncode; None when it is not our child and nobody tells us."""
        return self.popen.wait() if self.popen is not None else None

    def kill(self, reason: str, *, own: bool = True) -> None:
        """`own`: it is for something that the process did, and might do again."""
        self.kill_reason, self.kill_own = reason, own
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Through the pidfd, so it can't hit another process."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return  # it died just now: the selector will say so

    def tell(self, message: dict[str, Any], *fds: int) -> bool:
        """Send it a message over ctl; False when it does not take it."""
        if self.ctl is None:
            return False
        try:
            socket.send_fds(self.ctl, [json.dumps(message).encode()], fds)
        except OSError:
            return False
        return True


def replicas_in(slot: int, config: Config) -> list[Component]:
    """A replica in this slot: itself first, then its other parts, if it has some."""
    played_by = modules()
    name = f"replica{slot}"
    if not parts.is_multi(config, slot):
        return [Component(name, "replica", played_by["replica"], slot, slot)]
    udp, ip = f"{name}.{parts.UDP}", f"{name}.{parts.IP}"
    return [
        Component(name, "replica", played_by["replica"], slot, slot, parts.TCP),
        Component(udp, "replica", played_by["replica"], parts.slot_of(udp), slot, parts.UDP),
        Component(ip, "ip", played_by["ip"], None, slot, parts.IP),
    ]


def all_components(slots: Iterable[int], config: Config) -> dict[str, Component]:
    """Every component of a stack with replicas in these slots, in the order in which they are started."""
    played_by = modules()
    found = [Component("syscall", "syscall", played_by["syscall"])]
    found.append(Component("driver", "driver", played_by["driver"]))
    for slot in slots:
        found += replicas_in(slot, config)
    return {component.name: component for component in found}
