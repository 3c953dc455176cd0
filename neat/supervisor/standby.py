"""Standbys: processes that wait, exec'd and warm, for any component that fails.
Read first: ARCHITECTURE.md, "How a component starts".

`python -m neat.supervisor.standby standby@FD MODULE...` imports all that these modules need, says so on
`line`, and waits there for one datagram: the boot record of a component and its module, its descriptors
beside it. Then it is that component. It ends with the supervisor that started it.
"""

import importlib
import importlib.util
import os
import select
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable

import msgspec

from neat.boot import Boot, from_argv
from neat.replica.holder import set_memory_apart
from neat.shm.counters import names as counter_names
from neat.supervisor import process

WARM = b"warm"
WARMED = ("driver", "replica0", "syscall")  # their counters have names by then
MAX_FDS = 64
MAX_RECORD = 1 << 16
NICE_STANDBY = 10  # while it gets warm
LEVEL_AWAITED = 1  # of a successor, until it is ready


class Order(msgspec.Struct, frozen=True):
    """What a standby is told: which module to be, and how it is started (a descriptor is an index of those
    beside it)."""

    module: str
    boot: Boot


class StandbyProcess:
    """A process that is or will be warm, until it is used."""

    def __init__(self, modules: Iterable[str], boot: Boot, env: dict[str, str]) -> None:
        self.line, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line.setblocking(False)
        with peer:
            fds = {"line": peer.fileno(), "lifeline": boot.fds["lifeline"]}
            own = Boot("standby", 1, boot.config, fds)
            self.popen: subprocess.Popen[bytes] = process.start(
                "neat.supervisor.standby", own, env, sys.stderr.fileno(), arguments=tuple(modules)
            )
        process.set_priority(self.popen.pid, NICE_STANDBY)
        self.warm = False

    def heard(self) -> bool:
        """Its `line` is readable: False when it is of no use any more."""
        try:
            self.warm = self.line.recv(16) == WARM
        except BlockingIOError:
            pass
        except OSError:
            self.warm = False
        return self.warm

    def alive(self) -> bool:
        return self.popen.poll() is None

    def become(self, module: str, boot: Boot) -> bool:
        """Hand the boot record over, to be read once it is warm. False when there is nobody to take it.

        `line` must stay open until it was read: a socket that is closed with something unread in it (what
        `heard` would have read) is reset.
        """
        names = {name: index for index, name in enumerate(boot.fds)}
        record = msgspec.json.encode(Order(module, msgspec.structs.replace(boot, fds=names)))
        process.go_first(self.popen.pid, LEVEL_AWAITED)
        try:
            socket.send_fds(self.line, [record], list(boot.fds.values()))
        except OSError:
            return False
        return True

    def end(self) -> None:
        """Kill it, for good."""
        self.popen.kill()
        self.popen.wait()
        self.line.close()


class Standbys:
    """Up to `wanted` of them, made one after another at nobody's cost."""

    def __init__(
        self,
        wanted: int,
        modules: Iterable[str],
        boot: Boot,
        env: dict[str, str],
        selector: selectors.BaseSelector,
        may_make: Callable[[], bool],
    ) -> None:
        """`modules`: what they may become. `boot`: the supervisor's own, whose settings and lifeline they
        have too. `may_make`: whether nothing is in more of a hurry."""
        self.wanted = wanted
        self.modules = sorted(set(modules))
        self.boot = boot
        self.env = env
        self.selector = selector
        self.may_make = may_make
        self.waiting: list[StandbyProcess] = []  # the warm ones first

    def ensure(self) -> None:
        """Have another process get warm, if one is missing and none does."""
        for standby in [standby for standby in self.waiting if not standby.alive()]:
            self._drop(standby)
        all_warm = all(standby.warm for standby in self.waiting)
        if len(self.waiting) < self.wanted and all_warm and self.may_make():
            standby = StandbyProcess(self.modules, self.boot, self.env)
            self.waiting.append(standby)
            self.selector.register(standby.line, selectors.EVENT_READ, lambda: self._on_line(standby))

    def renew(self) -> None:
        """None but of the code that is installed now."""
        for standby in list(self.waiting):
            self._drop(standby)
        self.ensure()

    @property
    def ready(self) -> bool:
        """One is warm, or none will be."""
        return any(standby.warm for standby in self.waiting) or not self.wanted or not self.may_make()

    def take(self, module: str, boot: Boot, *, leave: bool = False) -> StandbyProcess | None:
        """The process that is the component of this record from now on, warm or at least on its way; the
        caller keeps its `line` open. None when there is none. `leave`: a warm one must be left for who
        fails."""
        while self.waiting:
            if leave and sum(standby.warm and standby.alive() for standby in self.waiting) < 2:
                return None
            standby = self.waiting[0]
            if standby.alive() and standby.become(module, boot):
                self._forget(standby)
                return standby
            self._drop(standby)
        return None

    def drop(self) -> None:
        """Have none any more."""
        self.wanted = 0
        for standby in list(self.waiting):
            self._drop(standby)

    def _drop(self, standby: StandbyProcess) -> None:
        self._forget(standby)
        standby.end()

    def _forget(self, standby: StandbyProcess) -> None:
        self.waiting.remove(standby)
        self.selector.unregister(standby.line)

    def _on_line(self, standby: StandbyProcess) -> None:
        if standby not in self.waiting:
            return  # an event of before it was taken
        if not standby.heard():
            self._drop(standby)
        self.ensure()


def entry(module: str) -> Callable[[], None]:
    """What runs it, imported with all that it needs."""
    package = importlib.util.find_spec(f"{module}.__main__") if _is_package(module) else None
    return importlib.import_module(f"{module}.__main__" if package is not None else module).main


def _is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


def wait_for_order(boot: Boot) -> Order:
    """The component to become, with its descriptors as numbered here. Exits when there is none to come."""
    line = socket.socket(fileno=boot.fds["line"])
    line.send(WARM)
    ready, _, _ = select.select([line.fileno(), boot.fds["lifeline"]], [], [])
    if boot.fds["lifeline"] in ready:
        sys.exit(0)
    record, fds, _flags, _address = socket.recv_fds(line, MAX_RECORD, MAX_FDS)
    if not record:
        sys.exit(0)
    line.close()
    os.close(boot.fds["lifeline"])
    order = msgspec.json.decode(record, type=Order)
    numbered = {name: fds[index] for name, index in order.boot.fds.items()}
    return Order(order.module, msgspec.structs.replace(order.boot, fds=numbered))


def main() -> None:
    modules = sys.argv[2:]
    del sys.argv[2:]
    boot = from_argv()
    entries = {module: entry(module) for module in modules}
    for component in WARMED:
        counter_names(component)
    set_memory_apart()
    order = wait_for_order(boot)
    sys.argv[1:] = [f"{order.boot.component}@{order.boot.to_memfd()}"]
    process.set_name(order.boot.component)
    entries[order.module]()


if __name__ == "__main__":
    main()
