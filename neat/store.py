"""The guardian's descriptor store: named descriptors that outlive every component. Read first:
docs/contracts/start.md, "The guardian's store".

One request a datagram, in JSON, a descriptor beside it with SCM_RIGHTS: `put` and `serve` carry one, the
answer to `get` carries one. `serve` makes the guardian answer on that socket too.
"""

import array
import json
import os
import secrets
import socket
from typing import Any

# The guardian answers at once, but for its first seconds, when it makes the device.
TIMEOUT_S = 15.0
MAX_NAMES = 65_536
MAX_REQUEST = 4096
# A listing is cut into datagrams of this many names; `more` says that another request (after = last
# name) is due.
LIST_CHUNK = 1000
MAX_REPLY = 1 << 18
_RIGHTS_BYTES = socket.CMSG_SPACE(8 * array.array("i").itemsize)


def _receive(sock: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """One datagram and the descriptors that came with it, all close-on-exec."""
    data, ancillary, _flags, _address = sock.recvmsg(size, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)


def _send(sock: socket.socket, message: dict[str, Any], fd: int = -1) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
    sock.sendmsg([json.dumps(message).encode()], ancillary)


def _seq(request: bytes) -> int:
    """What the reply repeats; 0 when there is none."""
    try:
        seq = json.loads(request).get("seq", 0)
    except (ValueError, RecursionError, AttributeError):
        return 0
    return seq if isinstance(seq, int) else 0


class StoreError(Exception):
    """The guardian is gone, or refused."""


class Store:
    """The client's side: blocking, one request at a time. Each process needs a socket of its own."""

    def __init__(self, fd: int) -> None:
        self.sock = socket.socket(fileno=fd)
        self.sock.settimeout(TIMEOUT_S)
        self.seq = secrets.randbits(48)

    def _ask(self, request: dict[str, Any], fd: int = -1) -> tuple[dict[str, Any], list[int]]:
        """The reply to this request. One that a predecessor was killed waiting for may come before it."""
        self.seq += 1
        try:
            _send(self.sock, request | {"seq": self.seq}, fd)
            while True:
                data, fds = _receive(self.sock, MAX_REPLY)
                if not data:
                    raise StoreError("the guardian is gone")
                reply = json.loads(data)
                if reply.get("seq") == self.seq:
                    return reply, fds
                for stray in fds:
                    os.close(stray)
        except OSError as error:
            raise StoreError(f"the guardian does not answer: {error}") from None

    def put(self, name: str, fd: int) -> None:
        """Keep a duplicate of fd under this name; replaces what was there."""
        reply, _ = self._ask({"op": "put", "name": name}, fd)
        if not reply.get("ok"):
            raise StoreError(f"put {name}: refused")

    def get(self, name: str) -> int | None:
        """A new descriptor (close-on-exec), or None when there is none of this name."""
        reply, fds = self._ask({"op": "get", "name": name})
        return fds[0] if reply.get("ok") and fds else None

    def drop(self, name: str) -> bool:
        """Forget it; False when it was not there."""
        return bool(self._ask({"op": "drop", "name": name})[0].get("ok"))

    def list(self, prefix: str = "") -> list[str]:
        """All names that start so, sorted."""
        names: list[str] = []
        while True:
            request = {"op": "list", "prefix": prefix} | ({"after": names[-1]} if names else {})
            reply, _ = self._ask(request)
            names += reply.get("names", [])
            if not reply.get("more"):
                return names

    def serve(self, fd: int) -> None:
        """Have the guardian answer requests on this socket too, until its other end is closed."""
        reply, _ = self._ask({"op": "serve"}, fd)
        if not reply.get("ok"):
            raise StoreError("serve: refused")


class StoreServer:
    """The guardian's side: what is kept, and how one request is answered. Bad requests are answered `ok:
    false`."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.new_clients: list[socket.socket] = []  # from `serve`; the guardian's loop takes them over

    def keep(self, name: str, fd: int) -> None:
        """Take ownership of fd."""
        old = self.kept.get(name)
        self.kept[name] = fd
        if old is not None:
            os.close(old)

    def handle(self, sock: socket.socket) -> bool:
        """Answer one request of a non-blocking socket; False when its other end is gone and it should be
        closed."""
        try:
            data, fds = _receive(sock, MAX_REQUEST)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        reply, fd = self._answer(data, fds)
        for left in fds:
            os.close(left)
        try:
            _send(sock, reply | {"seq": _seq(data)}, fd)
        except OSError:
            return False
        return True

    def _answer(self, data: bytes, fds: list[int]) -> tuple[dict[str, Any], int]:
        """The reply and the descriptor to send with it (-1: none). Descriptors that are kept are taken out
        of fds."""
        refused = ({"ok": False}, -1)
        try:
            request = json.loads(data)
            op, name = request.get("op"), request.get("name", "")
            prefix, after = request.get("prefix", ""), request.get("after", "")
        except (ValueError, RecursionError, AttributeError):
            return refused
        if not all(isinstance(text, str) for text in (name, prefix, after)):
            return refused
        if op == "put" and fds and name and (name in self.kept or len(self.kept) < MAX_NAMES):
            self.keep(name, fds.pop(0))
            return {"ok": True}, -1
        if op == "get" and name in self.kept:
            return {"ok": True}, self.kept[name]
        if op == "drop" and name in self.kept:
            os.close(self.kept.pop(name))
            return {"ok": True}, -1
        if op == "list":
            names = sorted(key for key in self.kept if key.startswith(prefix) and key > after)
            return {"names": names[:LIST_CHUNK], "more": len(names) > LIST_CHUNK}, -1
        if op == "serve" and fds:
            try:
                client = socket.socket(fileno=fds[0])
            except OSError:
                return refused  # not a socket
            fds.pop(0)
            client.setblocking(False)
            self.new_clients.append(client)
            return {"ok": True}, -1
        return refused

    def close(self) -> None:
        for fd in self.kept.values():
            os.close(fd)
        self.kept.clear()
