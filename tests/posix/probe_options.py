"""What this world's sockets say to each option: before it is set, when it is set, and afterwards; and when it
is set on a fresh socket, which is connected then. Runs as a subject (worlds.py); prints JSON, an errno by its
name: {"TCP": {option: [before, set, after]}, "fresh TCP": {option: [set, after, connect, after that]}, ...}.

The values are Linux's: asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h, linux/udp.h.
"""

import errno
import json
import os
import select
import socket
import struct

LEVELS = {"SO": 1, "IP": 0, "IPV6": 41, "TCP": 6, "UDP": 17}
OPTIONS = {
    "SO_DEBUG": 1, "SO_REUSEADDR": 2, "SO_TYPE": 3, "SO_ERROR": 4, "SO_DONTROUTE": 5, "SO_BROADCAST": 6,
    "SO_SNDBUF": 7, "SO_RCVBUF": 8, "SO_KEEPALIVE": 9, "SO_OOBINLINE": 10, "SO_NO_CHECK": 11,
    "SO_PRIORITY": 12, "SO_LINGER": 13, "SO_BSDCOMPAT": 14, "SO_REUSEPORT": 15, "SO_PASSCRED": 16,
    "SO_PEERCRED": 17, "SO_RCVLOWAT": 18, "SO_SNDLOWAT": 19, "SO_RCVTIMEO": 20, "SO_SNDTIMEO": 21,
    "SO_BINDTODEVICE": 25, "SO_ATTACH_FILTER": 26, "SO_DETACH_FILTER": 27, "SO_PEERNAME": 28,
    "SO_TIMESTAMP": 29, "SO_ACCEPTCONN": 30, "SO_PEERSEC": 31, "SO_SNDBUFFORCE": 32, "SO_RCVBUFFORCE": 33,
    "SO_PASSSEC": 34, "SO_TIMESTAMPNS": 35, "SO_MARK": 36, "SO_TIMESTAMPING": 37, "SO_PROTOCOL": 38,
    "SO_DOMAIN": 39, "SO_RXQ_OVFL": 40, "SO_PEEK_OFF": 42, "SO_LOCK_FILTER": 44, "SO_SELECT_ERR_QUEUE": 45,
    "SO_BUSY_POLL": 46, "SO_MAX_PACING_RATE": 47, "SO_INCOMING_CPU": 49, "SO_MEMINFO": 55,
    "SO_INCOMING_NAPI_ID": 56, "SO_COOKIE": 57, "SO_ZEROCOPY": 60, "SO_BINDTOIFINDEX": 62,
    "SO_PREFER_BUSY_POLL": 69, "SO_RESERVE_MEM": 73, "SO_TXREHASH": 74, "SO_RCVMARK": 75,
    "IP_TOS": 1, "IP_TTL": 2, "IP_HDRINCL": 3, "IP_OPTIONS": 4, "IP_RECVOPTS": 6, "IP_RETOPTS": 7,
    "IP_PKTINFO": 8, "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IP_RECVTTL": 12, "IP_RECVTOS": 13,
    "IP_MTU": 14, "IP_FREEBIND": 15, "IP_TRANSPARENT": 19, "IP_RECVORIGDSTADDR": 20, "IP_MINTTL": 21,
    "IP_NODEFRAG": 22, "IP_BIND_ADDRESS_NO_PORT": 24, "IP_RECVFRAGSIZE": 25, "IP_MULTICAST_IF": 32,
    "IP_MULTICAST_TTL": 33, "IP_MULTICAST_LOOP": 34, "IP_MULTICAST_ALL": 49, "IP_UNICAST_IF": 50,
    "IP_LOCAL_PORT_RANGE": 51, "IP_PROTOCOL": 52,
    "IPV6_UNICAST_HOPS": 16, "IPV6_MULTICAST_HOPS": 18, "IPV6_MULTICAST_LOOP": 19, "IPV6_MTU_DISCOVER": 23,
    "IPV6_RECVERR": 25, "IPV6_V6ONLY": 26, "IPV6_RECVPKTINFO": 49, "IPV6_RECVHOPLIMIT": 51,
    "IPV6_DONTFRAG": 62, "IPV6_RECVTCLASS": 66, "IPV6_TCLASS": 67, "IPV6_AUTOFLOWLABEL": 70,
    "IPV6_TRANSPARENT": 75, "IPV6_FREEBIND": 78,
    "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_CORK": 3, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 6, "TCP_SYNCNT": 7, "TCP_LINGER2": 8, "TCP_DEFER_ACCEPT": 9, "TCP_WINDOW_CLAMP": 10,
    "TCP_INFO": 11, "TCP_QUICKACK": 12, "TCP_CONGESTION": 13, "TCP_THIN_LINEAR_TIMEOUTS": 16,
    "TCP_THIN_DUPACK": 17, "TCP_USER_TIMEOUT": 18, "TCP_REPAIR": 19, "TCP_FASTOPEN": 23,
    "TCP_NOTSENT_LOWAT": 25, "TCP_CC_INFO": 26, "TCP_SAVE_SYN": 27, "TCP_SAVED_SYN": 28,
    "TCP_FASTOPEN_CONNECT": 30, "TCP_ULP": 31, "TCP_INQ": 36, "TCP_TX_DELAY": 37,
    "UDP_CORK": 1, "UDP_SEGMENT": 103, "UDP_GRO": 104,
}  # fmt: skip
VALUES = {
    "SO_LINGER": struct.pack("ii", 1, 5),
    "SO_RCVTIMEO": struct.pack("ll", 2, 0),
    "SO_SNDTIMEO": struct.pack("ll", 2, 0),
    "SO_BINDTODEVICE": b"lo",
    "SO_ATTACH_FILTER": struct.pack("HxxxxxxP", 0, 0),
    "SO_RCVBUF": struct.pack("i", 30000),
    "SO_SNDBUF": struct.pack("i", 30000),
    "TCP_MAXSEG": struct.pack("i", 1000),
    "TCP_WINDOW_CLAMP": struct.pack("i", 30000),
    "TCP_CONGESTION": b"cubic",
    "TCP_ULP": b"tls",
}
ONE = struct.pack("i", 1)
# They tell of this connection, this moment or this machine, not of the option.
# They lead to where the peer is not.
ELSEWHERE = {"SO_BINDTODEVICE", "SO_BINDTOIFINDEX"}
PATIENCE_S = 20
LENGTH_ONLY = {"SO_COOKIE", "SO_MEMINFO", "SO_PEERNAME", "SO_PEERCRED", "TCP_INFO", "TCP_CC_INFO", "IP_MTU"}


def level_of(option: str) -> int:
    return LEVELS[option.partition("_")[0]]


def ask(sock: socket.socket, option: str) -> str:
    try:
        value = sock.getsockopt(level_of(option), OPTIONS[option], 256)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return f"{len(value)} bytes" if option in LENGTH_ONLY else value.hex()


def tell(sock: socket.socket, option: str) -> str:
    try:
        sock.setsockopt(level_of(option), OPTIONS[option], VALUES.get(option, ONE))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


class Peer:
    """The other end's (peer.py) first command, and it is kept alive."""

    def __init__(self) -> None:
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(os.environ["SCENARIO_PEER"])
        self.lines = self.control.makefile("r")

    def __call__(self, command: str) -> int:
        self.control.sendall(command.encode() + b"\n")
        return int(self.lines.readline().split(" ")[0])


def fresh(peer: Peer, kind: str) -> tuple[socket.socket, tuple[str, int]]:
    """A socket, and an address where the peer is."""
    stream = kind.startswith("TCP")
    port = peer("listen l") if stream else peer("udp l")
    six = kind.endswith("6")
    family, host = (socket.AF_INET6, "::ffff:10.77.0.1") if six else (socket.AF_INET, "10.77.0.1")
    return socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM), (host, port)


def connect(sock: socket.socket, address: tuple[str, int], wait: bool) -> str:
    sock.setblocking(False)
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS and wait:
        select.select([], [sock], [], PATIENCE_S)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode[error] if error else "connected"


def connected(peer: Peer, kind: str) -> socket.socket:
    sock, address = fresh(peer, kind)
    sock.connect(address)
    return sock


def suits(option: str, kind: str) -> bool:
    of = option.partition("_")[0]
    return kind.endswith("6") if of == "IPV6" else not kind.endswith("6") and of in ("SO", "IP", kind)


def main() -> None:
    peer = Peer()
    seen: dict[str, dict[str, list[str]]] = {}
    for kind in ("TCP", "UDP", "TCP6", "UDP6"):
        seen[kind], seen[f"fresh {kind}"] = {}, {}
        for option in OPTIONS:
            if suits(option, kind):
                with connected(peer, kind) as sock:
                    seen[kind][option] = [ask(sock, option), tell(sock, option), ask(sock, option)]
                sock, address = fresh(peer, kind)
                with sock:
                    before = [tell(sock, option), ask(sock, option)]
                    how = connect(sock, address, option not in ELSEWHERE)
                    seen[f"fresh {kind}"][option] = [*before, how, ask(sock, option)]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
