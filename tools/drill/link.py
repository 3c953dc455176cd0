"""One connection of a load, from its beginning to its end: of this process, or of an ssh that it starts."""

import contextlib
import os
import re
import select
import socket
import subprocess
import time
from collections import deque
from pathlib import Path

from neat.tools.drill.plan import Kind
from neat.tools.drill.records import Connection
from neat.tools.drill.talk import Talk


class Link:
    """A connection of a place, over TCP."""

    __slots__ = (
        "awaits",
        "connection",
        "kind",
        "opening",
        "owed",
        "planned",
        "progress",
        "served",
        "shut",
        "sock",
        "talk",
    )

    def __init__(self, kind: Kind, connection: Connection, talk: Talk) -> None:
        self.sock = self.make()
        self.kind = kind
        self.connection = connection
        self.talk = talk
        self.awaits = select.EPOLLOUT
        self.opening = True
        self.served = False  # it has had an answer
        self.shut = False  # our stream has ended
        self.planned: float | None = None  # its first request, if that was before it is open
        self.owed: deque[float] = deque()  # when each request under way was planned
        self.progress = time.monotonic()  # when something came from the other end

    def waits_since(self) -> float | None:
        """Since when it waits for the other end; None: it does not."""
        if self.owed:
            return max(self.progress, self.owed[0])
        return self.progress if self.opening or self.shut else None

    def make(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self, target: tuple[str, int]) -> int:
        """The error's number, 0, or EINPROGRESS."""
        return self.sock.connect_ex(target)

    def port(self) -> int:
        """Our end's."""
        return self.sock.getsockname()[1]

    def close(self) -> None:
        self.sock.close()


class SshLink(Link):
    """Over the standard input and output of ssh, which logs in and runs what answers."""

    __slots__ = ("child", "inner")

    def make(self) -> socket.socket:
        outer, self.inner = socket.socketpair()
        self.child: subprocess.Popen[bytes] | None = None
        outer.setblocking(False)
        return outer

    def connect(self, target: tuple[str, int]) -> int:
        with self.inner:
            inner = self.inner.fileno()
            self.child = subprocess.Popen(self.kind.command, stdin=inner, stdout=inner)
        return 0

    def port(self) -> int:
        """That of ssh's own connection; 0 when it is over."""
        assert self.child is not None
        inodes = set()
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{self.child.pid}/fd").iterdir():
                if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(path)):
                    inodes.add(found[1])
        rows = (line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:])
        return next((int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes), 0)

    def close(self) -> None:
        self.sock.close()
        if self.child is not None:
            self.child.kill()
            self.child.wait()
