"""Python's view of control.h: dataclasses, packed and unpacked as layout.pyx says that they lie."""

import ipaddress
import socket
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from neat.abi import layout

PROTO_TCP, PROTO_UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
REPLY = layout.NEAT_MSG_REPLY  # neat_msg.flags
MESSAGE_BYTES = layout.neat_msg.size

_MESSAGE = struct.Struct(layout.neat_msg.format)
_ADDRESS = struct.Struct(layout.neat_addr.format)
_WORDS = layout.neat_msg["u"].count
_NOTHING = (0,) * _WORDS


class Op(IntEnum):
    """enum neat_op, where it says what each of them means."""

    HELLO = layout.NEAT_OP_HELLO
    JOIN = layout.NEAT_OP_JOIN
    SEGMENT = layout.NEAT_OP_SEGMENT
    BIND = layout.NEAT_OP_BIND
    LISTEN = layout.NEAT_OP_LISTEN
    CONNECT = layout.NEAT_OP_CONNECT
    PREFER = layout.NEAT_OP_PREFER
    POLLER = layout.NEAT_OP_POLLER
    ADOPT = layout.NEAT_OP_ADOPT
    REFUSED = layout.NEAT_OP_REFUSED
    CORD = layout.NEAT_OP_CORD
    ATTACH = layout.NEAT_OP_ATTACH
    ADD_LISTENER = layout.NEAT_OP_ADD_LISTENER
    ADD_UDP = layout.NEAT_OP_ADD_UDP
    CONNECT_VIA = layout.NEAT_OP_CONNECT_VIA
    APP_GONE = layout.NEAT_OP_APP_GONE
    PORTS = layout.NEAT_OP_PORTS
    WELCOME = layout.NEAT_OP_WELCOME
    ADD_POLLER = layout.NEAT_OP_ADD_POLLER
    SWEEP = layout.NEAT_OP_SWEEP
    FULL = layout.NEAT_OP_FULL
    ADD_CORD = layout.NEAT_OP_ADD_CORD
    REPLICA_HELLO = layout.NEAT_OP_REPLICA_HELLO
    PORT_FREE = layout.NEAT_OP_PORT_FREE
    STACK_END = layout.NEAT_OP_STACK_END
    ACCEPT = layout.NEAT_EV_ACCEPT
    CONNECTING = layout.NEAT_EV_CONNECTING
    FAILED = layout.NEAT_EV_FAILED
    REPLICA = layout.NEAT_EV_REPLICA


class BindFlag(IntFlag):
    REUSEADDR = layout.NEAT_BIND_REUSEADDR
    REUSEPORT = layout.NEAT_BIND_REUSEPORT
    V6ONLY = layout.NEAT_BIND_V6ONLY
    INET6 = layout.NEAT_BIND_INET6


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
        return _ADDRESS.pack(self.family, self.protocol, self.port, self.scope, self.raw)

    @classmethod
    def unpack(cls, data: bytes) -> "Address":
        return cls(*_ADDRESS.unpack(data))


class BadMessage(ValueError):
    """Not a struct neat_msg: wrong size or magic."""


@dataclass(slots=True)
class Message:
    """struct neat_msg without its magic, in its order. Descriptors travel beside it."""

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
    u: tuple[int, ...] = _NOTHING

    def pack(self) -> bytes:
        a, b, magic = self.local, self.remote, layout.NEAT_MSG_MAGIC
        head = (magic, self.op, self.flags, self.seq, self.error, self.app, self.replica, self.incarnation)
        numbers = (self.sock, self.generation, self.bind_id, self.backlog, self.options, self.prefix)
        local = (a.family, a.protocol, a.port, a.scope, a.raw)
        remote = (b.family, b.protocol, b.port, b.scope, b.raw)
        return _MESSAGE.pack(*head, self.token, *numbers, *local, *remote, *(self.u + _NOTHING)[:_WORDS])

    @classmethod
    def unpack(cls, data: bytes) -> "Message":
        """BadMessage unless it is exactly one struct neat_msg. The op is not checked."""
        if len(data) != MESSAGE_BYTES:
            raise BadMessage(f"{len(data)} bytes")
        magic, *head = _MESSAGE.unpack(data)
        if magic != layout.NEAT_MSG_MAGIC:
            raise BadMessage(f"magic {magic:#x}")
        fields = (*head[:14], Address(*head[14:19]), Address(*head[19:24]), tuple(head[24:]))
        return cls(*fields)

    def reply(self, error: int = 0, **fields) -> "Message":
        """The answer to this request: same op and seq."""
        return Message(self.op, REPLY, self.seq, error, **fields)


def channel_header(app: int, replica: int, incarnation: int, nsock: int, rx_size: int, tx_size: int) -> bytes:
    """struct neat_channel, as whoever makes the segment leaves it."""
    header = bytearray(layout.neat_channel.size)
    for name, value in (
        ("magic", layout.NEAT_CHANNEL_MAGIC),
        ("version", layout.NEAT_CHANNEL_VERSION),
        ("app", app),
        ("replica", replica),
        ("incarnation", incarnation),
        ("nsock", nsock),
        ("rx_size", rx_size),
        ("tx_size", tx_size),
    ):
        layout.neat_channel.put(header, name, value)
    return bytes(header)
