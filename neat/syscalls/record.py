"""What a syscall server leaves to its successor: descriptors under names of their own in the guardian's
store, and one JSON record that says what they are.

| name             | descriptor                                            |
|------------------|-------------------------------------------------------|
| syscall.record   | memfd with the record, replaced whole at each change  |
| bind.<id>        | the stack's end of a bound socket                     |
| app.<a>.<k>      | the segment of application a in replica k             |
| app.<a>.<k>.bell | the doorbell that belongs to it                       |

Descriptors are put before the record names them, and dropped after it has forgotten them: a record never
promises too much.
"""

import contextlib
import os
from typing import Protocol

import msgspec

RECORD = "syscall.record"
FORMAT = 1


class Store(Protocol):
    """neat.supervisor.store.Store."""

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
    pids: list[int]
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


class ReplicaRecord(msgspec.Struct):
    slot: int
    incarnation: int
    active: bool


class Record(msgspec.Struct):
    format: int = FORMAT
    next_app: int = 1
    next_bind: int = 1
    apps: list[AppRecord] = []
    binds: list[BindRecord] = []
    held: list[HeldRecord] = []
    replicas: list[ReplicaRecord] = []


def save(store: Store, record: Record) -> None:
    fd = os.memfd_create("neat:syscall.record", os.MFD_CLOEXEC)
    try:
        data = msgspec.json.encode(record)
        written = 0
        while written < len(data):
            written += os.write(fd, data[written:])
        store.put(RECORD, fd)
    finally:
        os.close(fd)


def load(store: Store) -> Record:
    """What the predecessor left; an empty record when there was none, or it can't be read."""
    fd = store.get(RECORD)
    if fd is None:
        return Record()
    try:
        data = os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
        record = msgspec.json.decode(data, type=Record)
        if record.format == FORMAT:
            return record
    return Record()


def bind_name(number: int) -> str:
    return f"bind.{number}"


def channel_name(app: int, replica: int) -> str:
    return f"app.{app}.{replica}"


def bell_name(app: int, replica: int) -> str:
    return f"app.{app}.{replica}.bell"
