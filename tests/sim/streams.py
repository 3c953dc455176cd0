"""Two applications on two engines that exchange random streams both ways, each at its own whim."""

import errno
import random
from dataclasses import dataclass, field

from neat.abi.layout import NEAT_ST_RDHUP
from neat.stack.lab import Lab
from tests.stack.harness.host import EV_ACCEPT, EV_CONNECTED, EV_RESET, REQ_ACCEPTED, REQ_SHUT_WR

from .wire import SECOND, Simulation, Weather

LISTENER_SOCK, PORT = 5, 8080
ADDRESSES = ("10.77.0.1", "10.77.0.2")
MACS = (b"\x02\x4e\x00\x00\x00\x01", b"\x02\x4e\x00\x00\x00\x02")


@dataclass
class Side:
    """One end of one connection: what it has to say, what it heard, and how greedy its application is."""

    to_send: bytes
    bite: int  # bytes that it takes at a time
    lazy: float  # the chance that it does not read although it could
    sent: int = 0
    heard: bytearray = field(default_factory=bytearray)
    conn: int | None = None
    sock: int | None = None
    port: int = 0  # of a client
    shut: bool = False
    closed: bool = False
    error: int = 0


class Exchange:
    """A client on host 0 and a server on host 1, over `connections` connections at once."""

    def __init__(
        self,
        seed: int,
        weather: Weather,
        *,
        sizes,
        connections: int = 1,
        offload_wire: bool = False,
        **settings,
    ):
        self.random = random.Random(seed)
        secret = self.random.randbytes(32)
        per_host = settings.pop("per_host", ({}, {}))
        self.labs = [
            Lab(
                address=ADDRESSES[i],
                gateway=ADDRESSES[1 - i],
                mac=MACS[i],
                secret=secret,
                **settings,
                **per_host[i],
            )
            for i in (0, 1)
        ]
        self.simulation = Simulation(seed, weather, self.labs, offload_wire)
        self.clients = [self._side(sizes) for _ in range(connections)]
        self.waiting = [self._side(sizes) for _ in range(connections)]  # servers that nobody talks to yet
        self.labs[1].listen(LISTENER_SOCK, PORT, backlog=connections + 4)
        self.by_conn: list[dict[int, Side]] = [{}, {}]
        for client in self.clients:
            self._connect(client)
        self.pairs: list[tuple[Side, Side]] = []

    def _side(self, sizes) -> Side:
        size = self.random.choice(sizes)
        bite = self.random.choice((1 << 30, 1 << 30, 1000, 7777))
        return Side(self.random.randbytes(size), bite, self.random.choice((0.0, 0.0, 0.5, 0.9)))

    def _connect(self, client: Side) -> None:
        client.conn = self.labs[0].connect(ADDRESSES[1], PORT)
        client.port = self.labs[0].conn_info(client.conn)["local"][1]
        self.by_conn[0][client.conn] = client

    def run(self, limit: float) -> None:
        """Until every byte arrived in both directions; compares them."""
        self.simulation.run(self._tick, self._done, round(limit * SECOND))
        assert len(self.pairs) == len(self.clients)
        for client, server in self.pairs:
            assert bytes(server.heard) == client.to_send, "client to server: the bytes differ"
            assert bytes(client.heard) == server.to_send, "server to client: the bytes differ"

    def drained(self, limit: float) -> None:
        """Then until both engines have forgotten the connections."""
        self.simulation.run(self._tick, self._empty, round(limit * SECOND))

    def _empty(self) -> bool:
        return all(
            lab.conn_info(conn) is None
            for lab, sides in zip(self.labs, self.by_conn, strict=True)
            for conn in sides
        )

    def _done(self) -> bool:
        return len(self.pairs) == len(self.clients) and all(s.closed for pair in self.pairs for s in pair)

    def _tick(self, host: int) -> bool:
        """Play all applications of a host; True when one left something unread."""
        lab = self.labs[host]
        for event in lab.events():
            self._event(host, event)
        for side in list(self.by_conn[host].values()):
            if side.sock is not None and not side.closed:
                self._play(lab, side)
        return any(
            self._unread(lab, s) for s in self.by_conn[host].values() if s.sock is not None and not s.closed
        )

    def _unread(self, lab: Lab, side: Side) -> bool:
        return lab.peek(side.sock, "rx_tail") != lab.peek(side.sock, "rx_head")

    def _event(self, host: int, event) -> None:
        lab = self.labs[host]
        if event.kinds & EV_ACCEPT:
            self._accept(lab, event)
        side = self.by_conn[host].get(event.conn)
        if side is None:
            return
        if event.kinds & EV_CONNECTED:
            side.sock = event.sock
        if event.kinds & EV_RESET and side.sock is None and event.error == errno.EHOSTUNREACH:
            # No answer to three ARP requests in a row: try again.
            lab.close(self.by_conn[host].pop(event.conn).conn)
            self._connect(side)
        elif event.kinds & EV_RESET and not side.closed:
            raise AssertionError(f"host {host}: the connection ended with error {event.error}")

    def _accept(self, lab: Lab, event) -> None:
        server = self.waiting.pop()
        server.conn, server.sock = event.conn, event.sock
        lab.request(event.sock, REQ_ACCEPTED)
        self.by_conn[1][event.conn] = server
        port = lab.conn_info(event.conn)["remote"][1]
        self.pairs.append((next(c for c in self.clients if c.port == port), server))

    def _play(self, lab: Lab, side: Side) -> None:
        """Send what fits, read a bite, shut down after the last byte, close when the peer is done too."""
        while side.sent < len(side.to_send):
            n = lab.send(side.sock, side.to_send[side.sent : side.sent + min(side.bite, 1 << 16)])
            side.sent += n
            if n == 0:
                break
        if side.sent == len(side.to_send) and not side.shut:
            side.shut = True
            lab.request(side.sock, REQ_SHUT_WR)
        while self.random.random() >= side.lazy and (data := lab.recv(side.sock, side.bite)):
            side.heard += data
        ended = lab.peek(side.sock, "status") & NEAT_ST_RDHUP
        # Who closes with text under way lets go of it after fewer retries than who waits.
        arrived = lab.peek(side.sock, "tx_tail") == lab.peek(side.sock, "tx_head")
        if ended and side.shut and arrived and not self._unread(lab, side):
            side.closed = True
            lab.close(side.conn)
