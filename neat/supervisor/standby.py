"""The standby: one replica process that waits, exec'd and warm, for any slot that fails.
Read first: ARCHITECTURE.md, "How a component starts".

`python -m neat.supervisor.standby standby@FD MODULE` imports what MODULE needs, says so on `line`, and waits
there for one datagram: the boot record of a component, its descriptors beside it. Then it is that component.
It ends with the supervisor that started it.
"""

import importlib
import importlib.util
import os
import runpy
import select
import selectors
import socket
import subprocess
import sys

import msgspec

from neat.boot import Boot, from_argv
from neat.supervisor import process

WARM = b"warm"
MAX_FDS = 64
MAX_RECORD = 1 << 16
NICE_STANDBY = 10  # while it gets warm


class StandbyProcess:
    """A process that is or will be warm, until it is used."""

    def __init__(self, module: str, boot: Boot, env: dict[str, str]) -> None:
        self.line, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line.setblocking(False)
        with peer:
            fds = {"line": peer.fileno(), "lifeline": boot.fds["lifeline"]}
            own = Boot("standby", 1, boot.config, fds)
            self.popen: subprocess.Popen[bytes] = process.start(
                "neat.supervisor.standby", own, env, sys.stderr.fileno(), arguments=(module,)
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

    def become(self, boot: Boot) -> bool:
        """Hand the boot record over, to be read once it is warm. False when there is nobody to take it.

        `line` must stay open until it was read: a socket that is closed with something unread in it (what
        `heard` would have read) is reset.
        """
        names = {name: index for index, name in enumerate(boot.fds)}
        record = msgspec.json.encode(msgspec.structs.replace(boot, fds=names))
        process.set_priority(self.popen.pid, os.getpriority(os.PRIO_PROCESS, 0))
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


class Standby:
    """The place of the standby: it is filled at nobody's cost, and empty while nobody waits there."""

    def __init__(
        self, module: str, boot: Boot, env: dict[str, str], selector: selectors.BaseSelector
    ) -> None:
        """`boot`: the supervisor's own, whose settings and lifeline a standby has too."""
        self.module = module
        self.boot = boot
        self.env = env
        self.selector = selector
        self.waiting: StandbyProcess | None = None

    def ensure(self) -> None:
        """Have a process get warm, unless one is or does."""
        if self.waiting is not None and not self.waiting.alive():
            self.drop()
        if self.waiting is None:
            self.waiting = StandbyProcess(self.module, self.boot, self.env)
            self.selector.register(self.waiting.line, selectors.EVENT_READ, self._on_line)

    def take(self, boot: Boot) -> StandbyProcess | None:
        """The process that is the component of this record from now on, warm or at least on its way; the
        caller keeps its `line` open. None when there is none."""
        taken = self._vacate()
        if taken is None or (taken.alive() and taken.become(boot)):
            return taken
        taken.end()
        return None

    def drop(self) -> None:
        """Leave the place empty."""
        taken = self._vacate()
        if taken is not None:
            taken.end()

    def _vacate(self) -> StandbyProcess | None:
        taken, self.waiting = self.waiting, None
        if taken is not None:
            self.selector.unregister(taken.line)
        return taken

    def _on_line(self) -> None:
        if self.waiting is not None and not self.waiting.heard():
            self.drop()


def wait_for_boot(boot: Boot) -> Boot:
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
    become = msgspec.json.decode(record, type=Boot)
    return msgspec.structs.replace(become, fds={name: fds[index] for name, index in become.fds.items()})


def main() -> None:
    module = sys.argv.pop()
    boot = from_argv()
    try:
        importlib.import_module(f"{module}.main")
    except ModuleNotFoundError as error:
        if error.name not in (f"{module}.main", module):
            raise  # a module without a part called `main` is run as it is
    become = wait_for_boot(boot)
    sys.argv[1:] = [f"{become.component}@{become.to_memfd()}"]
    process.set_name(become.component)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
