"""What the preload library refused because the stack does not have it, for `neat status`: counted, in
memory only."""

import collections
import functools
import socket
from typing import Any

from neat.abi.messages import Message

MAX_KINDS = 256  # the rest is only counted
SETSOCKOPT, GETSOCKOPT, FLAGS, CONTROL, IOCTL = range(1, 6)  # enum neat_refusal
CALLS = {
    SETSOCKOPT: "setsockopt",
    GETSOCKOPT: "getsockopt",
    FLAGS: "send flags",
    CONTROL: "control message",
    IOCTL: "ioctl",
}
# Level -> (its name, prefix of its options' names, options that Python does not name).
LEVELS = {
    socket.SOL_SOCKET: (
        "SOL_SOCKET",
        "SO_",
        {
            11: "SO_NO_CHECK",
            17: "SO_PEERCRED",
            26: "SO_ATTACH_FILTER",
            28: "SO_PEERNAME",
            29: "SO_TIMESTAMP",
            35: "SO_TIMESTAMPNS",
            37: "SO_TIMESTAMPING",
            40: "SO_RXQ_OVFL",
            42: "SO_PEEK_OFF",
            44: "SO_LOCK_FILTER",
            46: "SO_BUSY_POLL",
            47: "SO_MAX_PACING_RATE",
            48: "SO_BPF_EXTENSIONS",
            49: "SO_INCOMING_CPU",
            50: "SO_ATTACH_BPF",
            51: "SO_ATTACH_REUSEPORT_CBPF",
            52: "SO_ATTACH_REUSEPORT_EBPF",
            56: "SO_INCOMING_NAPI_ID",
            57: "SO_COOKIE",
            59: "SO_PEERGROUPS",
            60: "SO_ZEROCOPY",
            61: "SO_TXTIME",
            68: "SO_DETACH_REUSEPORT_BPF",
            69: "SO_PREFER_BUSY_POLL",
            70: "SO_BUSY_POLL_BUDGET",
            75: "SO_RCVMARK",
        },
    ),
    socket.IPPROTO_IP: (
        "IPPROTO_IP",
        "IP_",
        {
            8: "IP_PKTINFO",
            9: "IP_PKTOPTIONS",
            10: "IP_MTU_DISCOVER",
            11: "IP_RECVERR",
            12: "IP_RECVTTL",
            13: "IP_RECVTOS",
            14: "IP_MTU",
            15: "IP_FREEBIND",
            18: "IP_PASSSEC",
            19: "IP_TRANSPARENT",
            20: "IP_ORIGDSTADDR",
            21: "IP_MINTTL",
            22: "IP_NODEFRAG",
            23: "IP_CHECKSUM",
            24: "IP_BIND_ADDRESS_NO_PORT",
            25: "IP_RECVFRAGSIZE",
            49: "IP_MULTICAST_ALL",
            50: "IP_UNICAST_IF",
            51: "IP_LOCAL_PORT_RANGE",
        },
    ),
    socket.IPPROTO_IPV6: ("IPPROTO_IPV6", "IPV6_", {}),
    socket.IPPROTO_TCP: (
        "IPPROTO_TCP",
        "TCP_",
        {
            14: "TCP_MD5SIG",
            19: "TCP_REPAIR",
            22: "TCP_QUEUE_SEQ",
            24: "TCP_TIMESTAMP",
            26: "TCP_CC_INFO",
            27: "TCP_SAVE_SYN",
            28: "TCP_SAVED_SYN",
            29: "TCP_REPAIR_WINDOW",
            31: "TCP_ULP",
            33: "TCP_FASTOPEN_KEY",
            34: "TCP_FASTOPEN_NO_COOKIE",
            35: "TCP_ZEROCOPY_RECEIVE",
            36: "TCP_INQ",
            37: "TCP_TX_DELAY",
        },
    ),
    socket.IPPROTO_UDP: (
        "IPPROTO_UDP",
        "UDP_",
        {1: "UDP_CORK", 100: "UDP_ENCAP", 103: "UDP_SEGMENT", 104: "UDP_GRO"},
    ),
}
NOT_OPTIONS = {"IP_DEFAULT_MULTICAST_LOOP", "IP_DEFAULT_MULTICAST_TTL", "IP_MAX_MEMBERSHIPS"}


class Refusals:
    """By program, kind, level and name."""

    def __init__(self) -> None:
        self.counts: collections.Counter[tuple[str, int, int, int]] = collections.Counter()

    def add(self, message: Message) -> None:
        kind, level, name = message.u[:3]
        program = program_name(message.u[4:8])
        key = program, kind, level, name
        if key in self.counts or len(self.counts) < MAX_KINDS:
            self.counts[key] += 1

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "program": program,
                "call": CALLS.get(kind, str(kind)),
                "level": level,
                "name": name,
                "what": describe(kind, level, name),
                "count": count,
            }
            for (program, kind, level, name), count in self.counts.items()
        ]


def program_name(words: tuple[int, ...]) -> str:
    """16 bytes of a message as text that a terminal may show."""
    raw = b"".join(word.to_bytes(4, "little") for word in words).partition(b"\0")[0]
    return "".join(c if c.isprintable() else "?" for c in raw.decode(errors="replace"))


def describe(kind: int, level: int, name: int) -> str:
    """As a C program would write it: `IPPROTO_TCP, TCP_FASTOPEN`."""
    if kind == FLAGS:
        return " | ".join(flag_names(name)) or "0"
    if kind == IOCTL or level not in LEVELS:
        return f"{name:#x}" if kind == IOCTL else f"{level}, {name}"
    return f"{LEVELS[level][0]}, {option_names(level).get(name, name)}"


@functools.cache
def option_names(level: int) -> dict[int, str]:
    _level, prefix, others = LEVELS[level]
    return others | {
        value: key
        for key, value in vars(socket).items()
        if key.startswith(prefix) and key not in NOT_OPTIONS and "VM_SOCKETS" not in key
    }


def flag_names(flags: int) -> list[str]:
    known = {value: key for key, value in vars(socket).items() if key.startswith("MSG_")}
    bits = [1 << i for i in range(32) if flags >> i & 1]
    return [known.get(bit, f"{bit:#x}") for bit in bits]
