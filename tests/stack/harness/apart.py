"""The engine of a multi-component replica: an IP, a TCP and a UDP part, joined as their processes are, behind
the face of the one Lab that a whole engine has. Tests that were written for that run with this one too."""

from __future__ import annotations

from typing import Any

from neat.config import SLOTS
from neat.parts import FIRST_UDP
from neat.stack.lab import Lab

from .frames import VNET

IP, TRANSPORT = 1, 2  # enum Part in neat/stack/config.pxd
TCP, UDP = 6, 17
FRAME = 1
# Counted by every part that a packet passes: what the IP part says is true of the replica.
SEEN_BY_EACH = ("RX_FRAMES", "RX_BYTES", "IP_IN", "IP_OPTIONS", "ICMP_IN", "ICMP_ERRORS_IN")
OF_UDP = ("udp_bind", "udp_unbind", "send_datagram", "recv_datagram", "set_peer")
VNET_FIELDS = ("flags", "gso_type", "hdr_len", "gso_size", "csum_start", "csum_offset")
BY_SOCKET = ("dirty", "request", "take_token", "peek", "poke", "rx_ring", "tx_ring")


class Apart:
    def __init__(self, **settings: Any) -> None:
        few = {"max_connections": 64, "max_listeners": 1, "max_udp": 1}
        self.ip = Lab(**(settings | few | {"part": IP}))
        self.tcp = Lab(**(settings | {"part": TRANSPORT}))
        self.udp = Lab(**(settings | {"part": TRANSPORT}))
        self.labs = (self.ip, self.tcp, self.udp)
        self.above = {TCP: self.tcp, UDP: self.udp}
        self.udp_socks: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        """What only one of them has to do with: UDP, or TCP."""
        if name in OF_UDP:
            return getattr(self.udp, name)
        if name in BY_SOCKET:
            return lambda sock, *rest: getattr(self._of(sock), name)(sock, *rest)
        return getattr(self.tcp, name)

    def _of(self, sock: int) -> Lab:
        return self.udp if sock in self.udp_socks else self.tcp

    @property
    def now(self) -> int:
        return self.ip.now

    @now.setter
    def now(self, value: int) -> None:
        for lab in self.labs:
            lab.now = value

    def use_filter(self, filter_fd: int, track_fd: int) -> None:
        """TCP and UDP judge what is theirs, IP the rest."""
        for lab, first_slot in ((self.tcp, 0), (self.udp, FIRST_UDP), (self.ip, SLOTS)):
            lab.use_filter(filter_fd, track_fd, first_slot)

    def adopt(self, other: Apart) -> int:
        return self.tcp.adopt(other.tcp)

    # From the wire

    def arrive(self, frame: bytes, **vnet: int) -> None:
        header = [vnet.pop(name, 0) for name in VNET_FIELDS]
        assert not vnet, vnet
        self.arrive_record(VNET.pack(*header) + frame)

    def arrive_record(self, record: bytes) -> None:
        self.ip.arrive_record(record)
        self._hand_up(record, own=False)

    def arrive_own_record(self, record: bytes) -> None:
        self.ip.arrive_own_record(record)
        self._hand_up(record, own=True)

    def _hand_up(self, record: bytes, *, own: bool) -> None:
        above = self.above.get(self.ip.handed_up)
        if above is not None:
            above.arrive_own_record(record) if own else above.arrive_record(record)

    # To the wire

    def transmit(self, limit: int = 1 << 30) -> list[tuple[int, bytes]]:
        out: list[tuple[int, bytes]] = []
        for protocol, lab in self.above.items():
            for kind, payload in lab.transmit(max(limit - len(out), 0)):
                sent = self.ip.forward(payload, protocol) if kind == FRAME else payload
                if sent is not None:
                    out.append((kind, sent))
        out = self.ip.transmit(max(limit - len(out), 0)) + out
        for protocol, record in self.ip.poll_up():
            self.above[protocol].arrive_own_record(record)
        return out

    # All of them

    def advance(self, ns: int = 0) -> None:
        for lab in self.labs:
            lab.advance(ns)

    @property
    def deadline(self) -> int | None:
        return min((lab.deadline for lab in self.labs if lab.deadline is not None), default=None)

    def scan(self, budget: int = 1 << 30) -> int:
        return self.tcp.scan(budget) + self.udp.scan(budget)

    @property
    def pending(self) -> bool:
        return self.tcp.pending or self.udp.pending

    @property
    def users(self) -> int:
        return self.tcp.users + self.udp.users

    def events(self) -> list[Any]:
        return self.tcp.events() + self.udp.events()

    def detach(self) -> None:
        self.tcp.detach()
        self.udp.detach()

    def counters(self) -> dict[str, int]:
        found = [lab.counters() for lab in self.labs]
        total = {name: sum(one.get(name, 0) for one in found) for one in found for name in one}
        total |= {name: found[0].get(name, 0) for name in SEEN_BY_EACH}
        return {name: value for name, value in total.items() if value}

    def crash(self, attach: bool = True, guilty: int | None = None) -> int:
        """All three at once."""
        self.ip.crash(attach)
        self.udp.crash(attach)
        return self.tcp.crash(attach, guilty)

    @property
    def _main(self) -> Lab:
        return self.udp if self.udp_socks and not self.tcp.users else self.tcp

    @property
    def state(self) -> Any:
        return self._main.state

    @property
    def channel(self) -> Any:
        return self._main.channel

    # UDP sockets

    def udp_bind(self, sock: int, *rest: Any, **more: Any) -> None:
        self.udp.udp_bind(sock, *rest, **more)
        self.udp_socks.add(sock)

    def udp_unbind(self, sock: int) -> None:
        self.udp.udp_unbind(sock)
