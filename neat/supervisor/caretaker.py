"""The caretaker: who keeps the listening and UDP sockets of programs that outlive their stack.

`python -m neat.supervisor.caretaker caretaker@FD`, by a guardian that ends while a program has such a socket.
It holds the stack's ends of these, so that no program is told of a hang-up by which it could do nothing, and
what a syscall server and a supervisor have noted of them. The guardian of the next stack of that name takes
them over, and the programs serve again. Meanwhile it sends away who knocks at the syscall server's socket,
which programs may know by an open file alone. It does nothing else, and ends with the last of them.

Its descriptors: `door`, a listening SOCK_SEQPACKET socket in the run directory ($NEAT_RUN_DIR), on which it
answers as the guardian's store does (neat/store.py); and all that it keeps, by name.
"""

import contextlib
import os
import select
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from neat import rundir
from neat.boot import Boot, from_argv
from neat.store import Store, StoreError, StoreServer
from neat.supervisor import process

BIND = "bind."  # the stack's ends of bound sockets (neat/syscalls/record.py)
LISTEN = "listen"  # the syscall server's socket
RECORDS = ("syscall.record", "journal")  # what they are, and how far incarnations have counted
DOOR = "door"


def leave(boot: Boot, store: StoreServer, env: dict[str, str], directory: Path) -> bool:
    """Start a caretaker for what programs still have of a stack that ends; False when there is nothing, or it
    cannot be started. `boot`: the guardian's."""
    kept = {name: fd for name, fd in store.kept.items() if name.startswith(BIND) and not hung_up(fd)}
    if not kept:
        return False
    kept |= {name: store.kept[name] for name in (LISTEN, *RECORDS) if name in store.kept}
    path = directory / rundir.CARETAKER_SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            path.unlink(missing_ok=True)
            door.bind(str(path))
            path.chmod(0o600)
            door.listen(1)
            own = Boot("caretaker", 1, boot.config, {DOOR: door.fileno(), **kept})
            child = process.start(
                "neat.supervisor.caretaker", own, env, sys.stderr.fileno(), new_session=True
            )
        rundir.write_caretaker(directory, child.pid)
    except OSError as error:
        print(f"guardian: no caretaker: {error.strerror}", file=sys.stderr, flush=True)
        return False
    child.returncode = 0  # it outlives us
    return True


def inherit(directory: Path, store: StoreServer) -> None:
    """Take over what a caretaker keeps in this directory, if there is one, and let it go."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        try:
            sock.connect(str(directory / rundir.CARETAKER_SOCKET))
        except OSError:
            return
        client = Store(sock.detach())
    with contextlib.suppress(StoreError), client.sock:
        names = client.list()
        found = {name: client.get(name) for name in names}
        for name, fd in found.items():
            if fd is not None:
                store.keep(name, fd)
        for name in names:
            client.drop(name)


def hung_up(fd: int) -> bool:
    """Whether nobody has the other end of this socket any more."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


class Caretaker:
    def __init__(self, boot: Boot) -> None:
        self.selector = selectors.DefaultSelector()
        self.store = StoreServer()
        self.door = socket.socket(fileno=boot.fds.pop(DOOR))
        self.door.setblocking(False)
        self._watch(self.door, self._on_door)
        self.poll = select.epoll()  # hang-ups, and nothing else
        self._watch(self.poll, self._on_hang_up)
        self.names: dict[int, str] = {}
        self.heirs = 0
        self._watch(boot.fds[LISTEN], self._on_stranger)
        for name, fd in boot.fds.items():
            os.set_inheritable(fd, False)
            self.store.keep(name, fd)
            if name.startswith(BIND):
                self.poll.register(fd, 0)
                self.names[fd] = name

    def run(self) -> None:
        """Until no program waits any more, or all has been taken over."""
        while any(name.startswith(BIND) for name in self.store.kept):
            for key, _mask in self.selector.select():
                key.data()

    def _watch(self, what: socket.socket | select.epoll | int, call: Callable[[], None]) -> None:
        self.selector.register(what, selectors.EVENT_READ, call)

    def _on_hang_up(self) -> None:
        for fd, _events in self.poll.poll(0):
            name = self.names.pop(fd, "")
            with contextlib.suppress(OSError):  # the heir has had it dropped
                self.poll.unregister(fd)
            if name in self.store.kept:
                os.close(self.store.kept.pop(name))

    def _on_door(self) -> None:
        with contextlib.suppress(BlockingIOError):
            heir, _address = self.door.accept()
            heir.setblocking(False)
            self._watch(heir, lambda: self._on_heir(heir))
            if self.heirs == 0:
                self.selector.unregister(self.store.kept[LISTEN])  # who knocks from now on is the heir's
            self.heirs += 1

    def _on_heir(self, heir: socket.socket) -> None:
        """It gets everything before it drops anything, so its death takes nothing with it."""
        if self.store.handle(heir):
            return
        self.selector.unregister(heir)
        heir.close()
        self.heirs -= 1
        if self.heirs == 0 and LISTEN in self.store.kept:
            self._watch(self.store.kept[LISTEN], self._on_stranger)

    def _on_stranger(self) -> None:
        """There is no stack: ENETDOWN."""
        listener = socket.socket(fileno=os.dup(self.store.kept[LISTEN]))
        with listener, contextlib.suppress(OSError):
            listener.accept()[0].close()


def main() -> None:
    boot = from_argv()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if boot.config.netns != "none":
        with contextlib.suppress(OSError):
            process.unshare_network()  # the stack's own shall end with it
    process.set_name("neat-caretaker")
    directory = Path(os.environ["NEAT_RUN_DIR"])
    Caretaker(boot).run()
    if not directory.exists():
        return
    try:
        lock = rundir.acquire(directory)
    except (rundir.InUse, OSError):
        return  # the next stack is there
    rundir.remove(directory)
    os.close(lock)


if __name__ == "__main__":
    main()
