"""Python's view of control.h and of the geometry in channel.h; the C headers are the truth."""

import ipaddress
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

MAGIC = 0x47534D4E
CHANNEL_MAGIC = 0x4E414843
CHANNEL_VERSION = 1
SOCKS_OFFSET = 8192
SOCK_BYTES = 384
SHARED_SOCKS = 256
MAX_SOCKS = 16384
RINGS_ALIGN = 2 << 20
OVER_OFFSET = 68  # neat_channel.over

_ADDRESS = "BBHI16s"
_LAYOUT = struct.Struct("<IHHIiIIQQIIIiII" + _ADDRESS + _ADDRESS + "12I")
MESSAGE_BYTES = _LAYOUT.size  # 160
_ADDRESS_LAYOUT = struct.Struct("<" + _ADDRESS)

PROTO_TCP = 6
PROTO_UDP = 17


class Op(IntEnum):
    HELLO = 1
    JOIN = 2
    SEGMENT = 3
    BIND = 4
    LISTEN = 5
    CONNECT = 6
    PREFER = 7
    POLLER = 8
    ADOPT = 9
    REFUSED = 10
    ATTACH = 32
    ADD_LISTENER = 33
    ADD_UDP = 34
    CONNECT_VIA = 35
    APP_GONE = 36
    WELCOME = 37
    ADD_POLLER = 38
    SWEEP = 39
    FULL = 40
    REPLICA_HELLO = 64
    PORT_FREE = 65
    ACCEPT = 96
    CONNECTING = 97
    FAILED = 98
    REPLICA = 99


REPLY = 1  # neat_msg.flags


class BindFlag(IntFlag):
    REUSEADDR = 1
    REUSEPORT = 2
    V6ONLY = 4
    INET6 = 8


@dataclass(slots=True)
class Address:
    """struct neat_addr. `family` 0 means no address at all; port in host order."""

    family: int = 0
    protocol: int = 0
    port: int = 0
    scope: int = 0
    raw: bytes = bytes(16)

    @classmethod
    def ipv4(cls, host: str, port: int, protocol: int = 0) -> "Address":
        return cls(4, protocol, port, 0, ipaddress.IPv4Address(host).packed.ljust(16, b"\0"))

    @property
    def host(self) -> str:
        return (
            str(ipaddress.IPv4Address(self.raw[:4]))
            if self.family == 4
            else str(ipaddress.IPv6Address(self.raw))
        )

    @property
    def wildcard(self) -> bool:
        return not any(self.raw)

    def pack(self) -> bytes:
        return _ADDRESS_LAYOUT.pack(self.family, self.protocol, self.port, self.scope, self.raw)

    @classmethod
    def unpack(cls, data: bytes) -> "Address":
        return cls(*_ADDRESS_LAYOUT.unpack(data))


class BadMessage(ValueError):
    """Not a struct neat_msg: wrong size or magic."""


@dataclass(slots=True)
class Message:
    """struct neat_msg. Descriptors travel beside it."""

    op: int
    flags: int = 0
    seq: int = 0
    error: int = 0
    app: int = 0
    replica: int = 0
    incarnation: int = 0
    token: int = 0
    sock: int = 0
    generation: int = 0
    bind_id: int = 0
    backlog: int = 0
    options: int = 0
    prefix: int = 0
    local: Address = field(default_factory=Address)
    remote: Address = field(default_factory=Address)
    u: tuple[int, ...] = (0,) * 12

    def pack(self) -> bytes:
        a, b = self.local, self.remote
        head = (MAGIC, self.op, self.flags, self.seq, self.error, self.app, self.replica, self.incarnation)
        numbers = (self.sock, self.generation, self.bind_id, self.backlog, self.options, self.prefix)
        local = (a.family, a.protocol, a.port, a.scope, a.raw)
        remote = (b.family, b.protocol, b.port, b.scope, b.raw)
        return _LAYOUT.pack(*head, self.token, *numbers, *local, *remote, *(self.u + (0,) * 12)[:12])

    @classmethod
    def unpack(cls, data: bytes) -> "Message":
        """BadMessage unless it is exactly one struct neat_msg. The op is not checked."""
        if len(data) != MESSAGE_BYTES:
            raise BadMessage(f"{len(data)} bytes")
        magic, *head = _LAYOUT.unpack(data)
        if magic != MAGIC:
            raise BadMessage(f"magic {magic:#x}")
        fields = (*head[:14], Address(*head[14:19]), Address(*head[19:24]), tuple(head[24:]))
        return cls(*fields)

    def reply(self, error: int = 0, **fields) -> "Message":
        """The answer to this request: same op and seq."""
        return Message(self.op, REPLY, self.seq, error, **fields)


def rings_offset(nsock: int) -> int:
    end = SOCKS_OFFSET + nsock * SOCK_BYTES
    return (end + RINGS_ALIGN - 1) & ~(RINGS_ALIGN - 1)


def channel_bytes(nsock: int, rx_size: int, tx_size: int) -> int:
    return rings_offset(nsock) + nsock * (rx_size + tx_size)


_CHANNEL = struct.Struct("<IIIIQIII")


def channel_header(app: int, replica: int, incarnation: int, nsock: int, rx_size: int, tx_size: int) -> bytes:
    """The line of struct neat_channel that whoever makes the segment writes once."""
    return _CHANNEL.pack(CHANNEL_MAGIC, CHANNEL_VERSION, app, replica, incarnation, nsock, rx_size, tx_size)
