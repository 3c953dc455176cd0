"""Applications: who is registered, through which connections, and their segments in each replica."""

import collections
import contextlib
import os
import secrets
import socket
from dataclasses import dataclass, field

from neat.abi.layout import NEAT_SHARED_SOCKS, channel_bytes, neat_channel
from neat.abi.messages import channel_header
from neat.config import Config
from neat.shm import segment
from neat.shm.doorbell import make as make_doorbell

MAX_APPS = (
    200  # a replica has room for some more, so that those that are on their way out do not stand in the way
)
MAX_TOKENS = 4096  # of applications that were, too; the oldest are forgotten
MAX_SESSIONS_PER_APP = 4096  # everything under one `neat run` is one application
MAX_BINDS_PER_APP = 1024
MAX_BINDS = 8192  # each is a descriptor here and in the guardian
MAX_PENDING_PER_SESSION = 32


@dataclass(eq=False)
class Session:
    """One registered connection of one process."""

    sock: socket.socket
    pid: int
    uid: int
    trusted: bool  # may register an application: root, or who the stack belongs to
    app: "App | None" = None
    pending: int = 0  # requests that wait for replicas
    pidfd: int = -1  # of its process, while that is known to live
    orphan: bool = False  # its process is gone; a child may have inherited it


@dataclass
class Channel:
    """Segment app a,k."""

    fd: int
    bell: int  # an eventfd, by which this application wakes this replica
    incarnation: int  # of the replica that it belongs to
    attached: bool = False  # the replica has been told, by this server

    def end(self) -> None:
        """Its replica's state is gone: whoever uses it reads that in the segment itself."""
        over = neat_channel["over"]
        os.pwrite(self.fd, (1).to_bytes(over.size, "little"), over.offset)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.bell)


@dataclass(eq=False)
class App:
    number: int
    token: int
    uid: int
    pid: int  # of who registered it
    sessions: set[Session] = field(default_factory=set)
    processes: collections.Counter[int] = field(default_factory=collections.Counter)  # sessions, by pid
    channels: dict[int, Channel] = field(default_factory=dict)  # by replica slot
    socks: set[int] = field(default_factory=set)  # shared indexes in use
    shared: collections.Counter[int] = field(default_factory=collections.Counter)  # `socks`, by protocol
    binds: set[int] = field(default_factory=set)  # bind ids
    watched: dict[int, int] = field(
        default_factory=dict
    )  # pid -> pidfd, of processes that have not come back yet
    gone_at: float | None = None  # since when nobody is left
    full: bool = False  # it has all the memory that it may have, and the replicas were told

    def take_sock(self) -> int | None:
        """A free shared index: the lowest, so that replicas' tables stay dense."""
        for index in range(NEAT_SHARED_SOCKS):
            if index not in self.socks:
                self.socks.add(index)
                return index
        return None

    def enter(self, session: Session) -> None:
        session.app = self
        self.sessions.add(session)
        self.processes[session.pid] += 1
        self.gone_at = None

    def leave(self, session: Session) -> bool:
        """Whether it was the last one of its process."""
        self.sessions.discard(session)
        self.processes[session.pid] -= 1
        if self.processes[session.pid]:
            return False
        del self.processes[session.pid]
        return True

    @property
    def deserted(self) -> bool:
        return not (self.sessions or self.watched or self.binds)

    @property
    def forsaken(self) -> bool:
        """No process of it is known to live: others may have its descriptors, or nobody."""
        return not self.watched and all(session.orphan for session in self.sessions)

    def pids(self) -> set[int]:
        return set(self.processes) | set(self.watched)

    def memory(self) -> int:
        """Bytes of its segments that exist."""
        return sum(os.fstat(channel.fd).st_blocks for channel in self.channels.values()) * 512

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()
        for pidfd in self.watched.values():
            os.close(pidfd)
        self.channels.clear()
        self.watched.clear()


def new_token() -> int:
    """Never 0, which means none."""
    return secrets.randbits(64) | 1


def program_of(*pids: int) -> str:
    """The name of the first of these processes that lives; empty when none does."""
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as file:
            name = file.read().decode(errors="replace").rstrip("\n")
            return "".join(c if c.isprintable() else "?" for c in name)
    return ""


def watch_pid(app: App, pid: int) -> bool:
    """Keep an eye on a process of an application whose connection was lost with our predecessor. False when
    it is gone."""
    with contextlib.suppress(OSError):
        app.watched[pid] = os.pidfd_open(pid)
        return True
    return False


def make_channel(config: Config, app: int, replica: int, incarnation: int) -> Channel:
    """A new segment app a,k, laid out by channel.h and sealed. Sparse: it costs what is used."""
    bell = make_doorbell()
    geometry = config.sockets_per_app, config.socket_rx_bytes, config.socket_tx_bytes
    try:
        fd = segment.create(f"app{app}.{replica}", channel_bytes(*geometry))
    except OSError:
        os.close(bell)
        raise
    os.pwrite(fd, channel_header(app, replica, incarnation, *geometry), 0)
    return Channel(fd, bell, incarnation)
