"""All descriptors of the stack, by the names under which the guardian keeps them; what is missing is made.

| name | what |
|---|---|
| `tap`, `queue0`… | from the guardian: the device's queues, the driver's and, if they have some, the slots' |
| `board`, `steering`, `filter`, `track`, `link0`…, `state0`… | segments |
| `link0.tcp`, `link0.udp`, `ip0`… | segments of multi-component replicas: links between parts; neighbours |
| `bell.driver`, `bell.replica0`… | eventfds; those of the parts `bell.replica0.tcp` and so on |
| `sys0`, `sys0.peer`… | socketpairs: syscall server's end, replica's end |
| `ctl.driver`… | the supervisor's end of each component's control socket |
| `listen`, `control` | listening sockets in the run directory |
| `journal` | the supervisor's event log |
| `app.*`, `bind.*` | the syscall server's own |
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neat import parts, rundir
from neat.config import Config
from neat.shm import board, link, segment
from neat.shm import filter as filters
from neat.shm.doorbell import make as make_doorbell
from neat.shm.steering import SLOTS
from neat.store import Store
from neat.supervisor import device
from neat.supervisor.component import Component

FOREIGN = ("app.", "bind.")
NUMBER_OFFSET, NUMBER_BYTES = 8, 8  # StateHeader.incarnation (neat/stack/state.pxd)


class Inventory:
    """Every descriptor here is close-on-exec; a component gets the ones that `for_component` names."""

    def __init__(self, store: Store, config: Config, directory: Path) -> None:
        self.store = store
        self.config = config
        self.directory = directory
        self.fds: dict[str, int] = {}
        for name in store.list():
            if not name.startswith(FOREIGN):
                fd = store.get(name)
                if fd is not None:
                    self.fds[name] = fd
        if "tap" not in self.fds:
            raise OSError("the guardian has no TAP device")

    def ensure(self, name: str, make: Callable[..., int], *arguments: Any) -> None:
        if name not in self.fds:
            self.replace(name, make(*arguments))

    def replace(self, name: str, fd: int) -> None:
        """Take ownership of fd, in place of what was there."""
        self.store.put(name, fd)
        old = self.fds.get(name)
        self.fds[name] = fd
        if old is not None:
            os.close(old)

    def ensure_all(self) -> None:
        """Make what a new stack needs; on a stack that runs, nothing is missing. What a slot needs is there
        whether a replica is or not: driver and syscall server have it from the start. Memory that nobody has
        touched costs nothing."""
        config = self.config
        self.ensure("journal", os.memfd_create, "neat:journal", os.MFD_CLOEXEC)
        self.ensure("board", segment.create, "board", board.BOARD_BYTES)
        self.ensure("steering", device.make_steering, config)
        self.ensure("filter", filters.create)
        self.ensure("track", filters.create_track)
        self.ensure("bell.driver", make_doorbell)
        # Anybody may knock: a worker that has given up its rights joins its application with its token.
        self.ensure("listen", self._listen, rundir.SYSCALL_SOCKET, socket.SOCK_SEQPACKET, 0o666)
        self.ensure("control", self._listen, rundir.CONTROL_SOCKET, socket.SOCK_STREAM, 0o600)
        for k in range(SLOTS):
            self.ensure(f"link{k}", _link, f"link{k}", config.ring_bytes)
            self.ensure(f"bell.replica{k}", make_doorbell)
            if f"sys{k}" not in self.fds or f"sys{k}.peer" not in self.fds:
                ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self.replace(f"sys{k}", ours.detach())
                self.replace(f"sys{k}.peer", peer.detach())
        for k in parts.slots(config):
            self._ensure_parts(k)

    def _ensure_parts(self, slot: int) -> None:
        from neat.replica.settings import ip_state_bytes

        for part in (parts.TCP, parts.UDP):
            self.ensure(f"link{slot}.{part}", _link, f"link{slot}.{part}", self.config.ring_bytes)
            self.ensure(f"bell.replica{slot}.{part}", make_doorbell)
        self.ensure(f"ip{slot}", segment.create, f"ip{slot}", ip_state_bytes(self.config))

    def renew_link(self, component: Component) -> None:
        """A fresh link between this part and the IP part of its replica."""
        name = link_name(component)
        self.replace(name, _link(name, self.config.ring_bytes))

    def renew_state(self, slot: int, number: int) -> None:
        """A fresh state segment, zeroed but for the number of the state."""
        from neat.replica.sizes import state_bytes

        fd = segment.create(f"state{slot}", state_bytes(self.config))
        _write_number(fd, number)
        self.replace(f"state{slot}", fd)

    def state_number(self, slot: int) -> int:
        """Of the state in the segment of a slot; 0 when there is none that is of use."""
        fd = self.fds.get(f"state{slot}")
        return int.from_bytes(os.pread(fd, NUMBER_BYTES, NUMBER_OFFSET), "little") if fd is not None else 0

    def forget(self, component: Component) -> None:
        """Nobody will go on with what it has, and its memory is free when its last process is gone."""
        for name in (f"state{component.slot}", f"ctl.{component.name}"):
            fd = self.fds.pop(name, None)
            if fd is not None:
                self.store.drop(name)
                os.close(fd)

    def void_state(self, slot: int) -> None:
        """Nobody goes on with it, whoever supervises from now on."""
        fd = self.fds.get(f"state{slot}")
        if fd is not None:
            _write_number(fd, 0)

    def for_component(self, component: Component) -> dict[str, int]:
        """The descriptors that a component inherits, beside ctl and lifeline (ARCHITECTURE.md, "How a
        component starts")."""
        slots = range(SLOTS)
        bells = [f"bell.replica{k}" for k in slots]
        if component.kind == "driver":
            names = ["board", "tap", "steering", "bell.driver", *bells, *(f"link{k}" for k in slots)]
        elif component.kind == "syscall":
            names = ["board", "listen", *(f"sys{k}" for k in slots)]
        else:
            renamed = {name: name for name in ("board", "filter", "track")} | self._of_replica(component)
            return {key: self.fds[name] for key, name in renamed.items()}
        return {name: self.fds[name] for name in names}

    def _of_replica(self, component: Component) -> dict[str, str]:
        """Of a replica, or a part of one: what it knows a descriptor by, and the name here."""
        home, part = component.home, component.part
        found = {"link": link_name(component)}
        if part in (parts.TCP, parts.UDP):
            # To them the IP part is what the driver is to a whole replica.
            found |= {"bell": f"bell.replica{home}.{part}", "bell.driver": f"bell.replica{home}"}
        else:
            found |= {"bell": f"bell.replica{home}", "bell.driver": "bell.driver"}
            if self.config.datapath == "queues":
                found["queue"] = f"queue{home}"
        if part == parts.IP:
            found["state"] = f"ip{home}"
            for above in (parts.TCP, parts.UDP):
                found |= {
                    f"link.{above}": f"link{home}.{above}",
                    f"bell.{above}": f"bell.replica{home}.{above}",
                }
        else:
            found |= {"state": f"state{component.slot}", "sys": f"sys{component.slot}.peer"}
        return found

    def syscall_store(self) -> int:
        """A socket of its own to the guardian's store, so that a successor never reads its predecessor's
        answers."""
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with peer:
            self.store.serve(peer.fileno())
        return ours.detach()

    def _listen(self, name: str, kind: int, mode: int) -> int:
        path = self.directory / name
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, kind)
        old_mask = os.umask(0o777 & ~mode)
        try:
            sock.bind(str(path))
        finally:
            os.umask(old_mask)
        sock.listen(128)
        sock.setblocking(False)
        return sock.detach()


def state_name(component: Component) -> str:
    """Of the segment that says what a replica or a part has in its hands."""
    return f"ip{component.home}" if component.slot is None else f"state{component.slot}"


def link_name(component: Component) -> str:
    """Of what a replica or a part has as its link."""
    if component.part in (parts.TCP, parts.UDP):
        return f"link{component.home}.{component.part}"
    return f"link{component.home}"


def _write_number(fd: int, number: int) -> None:
    os.pwrite(fd, number.to_bytes(NUMBER_BYTES, "little"), NUMBER_OFFSET)


def _link(name: str, ring_bytes: int) -> int:
    fd = segment.create(name, link.link_bytes(ring_bytes, ring_bytes))
    link.initialise(fd, ring_bytes, ring_bytes)
    return fd
