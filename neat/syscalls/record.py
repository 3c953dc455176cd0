"""What a syscall server leaves to its successor: descriptors under names of their own in the guardian's
store, and a journal that says what they are.

| name             | descriptor                      |
|------------------|---------------------------------|
| syscall.record   | memfd with the journal          |
| bind.<id>        | the stack's end of a bound socket |
| app.<a>.<k>      | the segment of application a in replica k |
| app.<a>.<k>.bell | the doorbell that belongs to it |

Each line of the journal is a JSON object: what is known from now on under each of its names; null: nothing
any more. A change is one line, so it costs the same however much is known; when most lines are void, the
journal is written anew. One that was cut short by the end of its writer is void, too.

| name in the journal | value           |
|---------------------|-----------------|
| app.<a>             | AppRecord       |
| process.<a>.<pid>   | true: that process has a connection |
| token.<token>       | true: of an application that is, or was |
| bind.<id>           | BindRecord      |
| held.<id>           | HeldRecord      |
| replica.<k>         | ReplicaRecord   |
| ports               | PortsRecord     |
| next.app, next.bind | the next number |

Descriptors are put before the journal names them, and dropped after it has forgotten them: it never promises
too much.
"""

import os
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

RECORD = "syscall.record"
PORTS = "ports"
FORMAT = 2
FORMAT_NAME = "format"
SLACK_BYTES = 1 << 16  # of void lines, beside as many as there are valid ones


class Store(Protocol):
    """neat.store.Store."""

    def put(self, name: str, fd: int) -> None: ...
    def get(self, name: str) -> int | None: ...
    def drop(self, name: str) -> bool: ...
    def list(self, prefix: str = "") -> list[str]: ...


class ChannelRecord(msgspec.Struct):
    replica: int
    incarnation: int


class AppRecord(msgspec.Struct):
    number: int
    token: int
    uid: int
    pid: int
    channels: list[ChannelRecord]


class BindRecord(msgspec.Struct):
    number: int
    app: int
    protocol: int
    port: int
    address: str  # hex of struct neat_addr
    flags: int
    uid: int
    sock: int
    backlog: int
    listening: bool
    inode: int = 0
    defer_accept_s: int = 0


class HeldRecord(msgspec.Struct):
    number: int
    slot: int
    port: int
    host: str  # hex; empty for the wildcard
    uid: int
    reuse_address: bool
    reuse_port: bool
    app: int = 0


class ReplicaRecord(msgspec.Struct):
    slot: int
    incarnation: int
    active: bool


class PortsRecord(msgspec.Struct):
    slots: list[int]  # neat/syscalls/shares.py
    settled: list[int]


Kind = TypeVar("Kind")
Value = msgspec.Struct | int | bool | None


class Journal:
    """The journal of one server; `load` first."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.values: dict[str, bytes] = {}  # what is known, encoded
        self.fd = -1
        self.written = 0  # bytes
        self.valid = 0

    def load(self) -> dict[str, Any]:
        """What the predecessor knew, by name; empty when there was none, or it can't be read."""
        found = self._read()
        if found.pop(FORMAT_NAME, None) != FORMAT:
            found = {}
        self.values = {name: msgspec.json.encode(value) for name, value in found.items()}
        self._write_anew()
        return found

    def _read(self) -> dict[str, Any]:
        fd = self.store.get(RECORD)
        if fd is None:
            return {}
        try:
            data = os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
        found: dict[str, Any] = {}
        for line in data.splitlines():
            try:
                found |= msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError):
                break
        return {name: value for name, value in found.items() if value is not None}

    def note(self, changes: Mapping[str, Value]) -> None:
        """All of these at once; what is None is forgotten."""
        line = []
        for name, value in changes.items():
            encoded = msgspec.json.encode(value)
            line.append(_item(name, encoded))
            old = self.values.pop(name, None)
            if old is not None:
                self.valid -= len(name) + len(old)
            if value is not None:
                self.values[name] = encoded
                self.valid += len(name) + len(encoded)
        try:
            self._append(b"{" + b",".join(line) + b"}\n")
        except OSError:
            self._write_anew()  # out of memory in the middle of a line: whatever follows would be void
        if self.written > 2 * self.valid + SLACK_BYTES:
            self._write_anew()

    def _append(self, data: bytes) -> None:
        self.written += len(data)
        while data:
            data = data[os.write(self.fd, data) :]

    def _write_anew(self) -> None:
        old, self.fd = self.fd, os.memfd_create("neat:syscall.record", os.MFD_CLOEXEC)
        lines = [b"{" + _item(name, value) + b"}\n" for name, value in self.values.items()]
        self.written = 0
        self.valid = sum(len(name) + len(value) for name, value in self.values.items())
        self._append(b"{" + _item(FORMAT_NAME, msgspec.json.encode(FORMAT)) + b"}\n" + b"".join(lines))
        self.store.put(RECORD, self.fd)
        if old >= 0:
            os.close(old)


def _item(name: str, encoded: bytes) -> bytes:
    return b'"' + name.encode() + b'":' + encoded


def all_of(found: Mapping[str, Any], kind: str, struct: type[Kind]) -> list[Kind]:
    """The values of this kind (the first part of the name), checked; what makes no sense is left out."""
    values = []
    for name, value in found.items():
        if name.partition(".")[0] == kind:
            try:
                values.append(msgspec.convert(value, struct))
            except msgspec.ValidationError:
                continue
    return values


def bind_name(number: int) -> str:
    return f"bind.{number}"


def held_name(number: int) -> str:
    return f"held.{number}"


def app_name(number: int) -> str:
    return f"app.{number}"


def process_name(app: int, pid: int) -> str:
    return f"process.{app}.{pid}"


def token_name(token: int) -> str:
    return f"token.{token:016x}"


def replica_name(slot: int) -> str:
    return f"replica.{slot}"


def channel_name(app: int, replica: int) -> str:
    return f"app.{app}.{replica}"


def bell_name(app: int, replica: int) -> str:
    return f"app.{app}.{replica}.bell"
