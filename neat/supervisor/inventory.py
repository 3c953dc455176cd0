"""All descriptors of the stack, by the names under which the guardian keeps them; what is missing is made.

| name | what |
|---|---|
| `tap`, `queue0`… | from the guardian: the device's queues, the driver's and, if they have some, the slots' |
| `board`, `steering`, `filter`, `track`, `link0`…, `state0`… | segments |
| `bell.driver`, `bell.replica0`… | eventfds |
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

from neat import rundir
from neat.config import Config
from neat.shm import board, link, segment
from neat.shm import filter as filters
from neat.shm.doorbell import make as make_doorbell
from neat.shm.steering import SLOTS
from neat.store import Store
from neat.supervisor import device

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

    def drop_state(self, slot: int) -> None:
        """Nobody will go on with it, and its memory is free when its last process is gone."""
        for name in (f"state{slot}", f"ctl.replica{slot}"):
            fd = self.fds.pop(name, None)
            if fd is not None:
                self.store.drop(name)
                os.close(fd)

    def void_state(self, slot: int) -> None:
        """Nobody goes on with it, whoever supervises from now on."""
        fd = self.fds.get(f"state{slot}")
        if fd is not None:
            _write_number(fd, 0)

    def for_component(self, kind: str, slot: int | None) -> dict[str, int]:
        """The descriptors that a component inherits, beside ctl and lifeline (ARCHITECTURE.md, "How a
        component starts")."""
        slots = range(SLOTS)
        bells = [f"bell.replica{k}" for k in slots]
        if kind == "driver":
            names = ["board", "tap", "steering", "bell.driver", *bells, *(f"link{k}" for k in slots)]
        elif kind == "syscall":
            names = ["board", "listen", *(f"sys{k}" for k in slots)]
        else:
            renamed = {
                "link": f"link{slot}",
                "state": f"state{slot}",
                "bell": f"bell.replica{slot}",
                "sys": f"sys{slot}.peer",
            }
            if self.config.datapath == "queues":
                renamed["queue"] = f"queue{slot}"
            own = {key: self.fds[name] for key, name in renamed.items()}
            return own | {name: self.fds[name] for name in ("board", "filter", "track", "bell.driver")}
        return {name: self.fds[name] for name in names}

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


def _write_number(fd: int, number: int) -> None:
    os.pwrite(fd, number.to_bytes(NUMBER_BYTES, "little"), NUMBER_OFFSET)


def _link(name: str, ring_bytes: int) -> int:
    fd = segment.create(name, link.link_bytes(ring_bytes, ring_bytes))
    link.initialise(fd, ring_bytes, ring_bytes)
    return fd
