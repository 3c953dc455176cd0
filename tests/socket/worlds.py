"""Where the suite of socket semantics runs: kernel sockets, NEaT over a fake stack, NEaT over a real one.

The subject is the socket under test; the peer is at the other end of the wire.
"""

import contextlib
import ctypes
import os
import socket as std
import threading
from collections.abc import Callable, Iterator
from typing import Any

from neat import socket as neat_socket
from tests.shim import fakestack
from tests.support import Stack

CLONE_NEWNET = 0x40000000
PATIENCE_S = 10


class World:
    """`net`: the module of the subject's sockets. `host` and `peer_host`: where each end is."""

    def __init__(self, name: str, net: Any, peer_net: Callable[..., Any], host: str, peer_host: str) -> None:
        self.name, self.net, self._peer, self.host, self.peer_host = name, net, peer_net, host, peer_host
        self.opened: list[Any] = []

    def keep(self, sock: Any) -> Any:
        """Close it after the test; let nothing wait for ever."""
        self.opened.append(sock)
        return sock

    def socket(self, kind: int = std.SOCK_STREAM) -> Any:
        return self.keep(self.net.socket(std.AF_INET, kind))

    def peer_socket(self, kind: int = std.SOCK_STREAM) -> Any:
        sock = self.keep(self._peer(std.AF_INET, kind))
        sock.settimeout(PATIENCE_S)
        return sock

    def listener(self, backlog: int = 5) -> Any:
        sock = self.socket()
        sock.setsockopt(std.SOL_SOCKET, std.SO_REUSEADDR, 1)
        sock.bind((self.host, 0))
        sock.listen(backlog)
        return sock

    def peer_listener(self, backlog: int = 5) -> Any:
        sock = self.peer_socket()
        sock.bind((self.peer_host, 0))
        sock.listen(backlog)
        return sock

    def accepted(self) -> tuple[Any, Any]:
        """(subject, peer) of a connection that the peer opened."""
        listener = self.listener()
        peer = self.peer_socket()
        peer.connect(listener.getsockname())
        subject = self.keep(listener.accept()[0])
        listener.close()
        return subject, peer

    def connected(self) -> tuple[Any, Any]:
        """(subject, peer) of a connection that the subject opened."""
        listener = self.peer_listener()
        subject = self.socket()
        subject.connect(listener.getsockname())
        peer = self.keep(listener.accept()[0])
        peer.settimeout(PATIENCE_S)
        listener.close()
        return subject, peer

    def close(self) -> None:
        for sock in self.opened:
            with contextlib.suppress(OSError):
                sock.close()
        self.opened.clear()


def kernel() -> World:
    return World("kernel", std, std.socket, "127.0.0.1", "127.0.0.1")


@contextlib.contextmanager
def fake() -> Iterator[World]:
    with fakestack.running(2):
        yield World("fake", neat_socket, neat_socket.socket, fakestack.ADDRESS, fakestack.ADDRESS)


@contextlib.contextmanager
def real(stack: Stack) -> Iterator[World]:
    """The peer's sockets are the kernel's, made in the stack's namespace by a thread that visits it."""
    namespace = os.open(f"/proc/{stack.pids()['driver']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    setns = ctypes.CDLL(None, use_errno=True).setns

    def peer(family: int, kind: int) -> std.socket:
        made: list[std.socket] = []

        def visit() -> None:
            if setns(namespace, CLONE_NEWNET) == 0:
                made.append(std.socket(family, kind))

        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        return made[0]

    os.environ["NEAT_RUN_DIR"] = str(stack.run_dir)
    try:
        yield World("neat", neat_socket, peer, "10.77.0.2", "10.77.0.1")
    finally:
        os.environ.pop("NEAT_RUN_DIR")
        os.close(namespace)
