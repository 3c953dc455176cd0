"""An engine on a virtual clock, and its surroundings: ARP is answered, everything that is sent is kept."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from neat.abi import layout
from tests.support import COMPONENTS

from .apart import Apart
from .frames import ETH_ARP, PEER_IP, PEER_MAC, VNET, Packet, arp_reply_to, read_packet

RECORD_FRAME, RECORD_FLOW_ADD, RECORD_FLOW_DELETE, RECORD_FLOW_FADES = 1, 2, 3, 5
EV_ACCEPT, EV_CONNECTED, EV_READABLE, EV_WRITABLE, EV_RDHUP, EV_CLOSED, EV_RESET, EV_FREED, EV_NOTIFY = (
    1 << bit for bit in range(9)
)
REQ_SHUT_WR, REQ_SHUT_RD, REQ_ABORT = layout.NEAT_REQ_SHUT_WR, layout.NEAT_REQ_SHUT_RD, layout.NEAT_REQ_ABORT
REQ_ACCEPTED, REQ_NOTIFY = layout.NEAT_REQ_ACCEPTED, layout.NEAT_REQ_NOTIFY
REQ_CLOSE = layout.NEAT_REQ_CLOSE
OPT_NODELAY, OPT_CORK = layout.NEAT_OPT_NODELAY, layout.NEAT_OPT_CORK
OPT_KEEPALIVE, OPT_QUICKACK = layout.NEAT_OPT_KEEPALIVE, layout.NEAT_OPT_QUICKACK
OPT_PEER, OPT_BROADCAST, OPT_LINGER = layout.NEAT_OPT_PEER, layout.NEAT_OPT_BROADCAST, layout.NEAT_OPT_LINGER
SECOND = 1_000_000_000
TURNS_IN_ONE_INSTANT = 10_000


def make_lab(**settings: Any) -> Any:
    """A whole engine; one in parts where the tests' stacks are ($NEAT_TEST_COMPONENTS)."""
    if COMPONENTS == "single":
        from neat.stack.lab import Lab

        return Lab(**settings)
    return Apart(**settings)


@dataclass
class Sent:
    """A record that the engine sent: when (ns), the whole record, and the IPv4 packet in it, if it is one."""

    time: int
    record: bytes
    packet: Packet | None

    @property
    def frame(self) -> bytes:
        return self.record[VNET.size :]


class Host:
    """A Lab whose output is read and verified. ARP requests for `neighbours` are answered at once."""

    def __init__(self, **settings):
        self.lab = make_lab(**settings)
        self.sent: deque[Sent] = deque()
        self.flows: list[tuple[int, bytes]] = []
        self.events: list = []
        self.neighbours = {PEER_IP: PEER_MAC}
        self.turn()
        self.sent.clear()  # the gratuitous announcement

    def turn(self) -> None:
        """What the replica does after each input: commands, timers, transmit, events, until all is quiet."""
        for _ in range(TURNS_IN_ONE_INSTANT):
            self.lab.scan()
            self.lab.advance(0)
            out = self.lab.transmit(limit=256)
            self.events += self.lab.events()
            for kind, payload in out:
                self._take(kind, payload)
            if not out and not self.lab.pending:
                return
        raise AssertionError("the engine never comes to rest")

    def _take(self, kind: int, payload: bytes) -> None:
        if kind != RECORD_FRAME:
            self.flows.append((kind, payload))
            return
        frame = payload[VNET.size :]
        if int.from_bytes(frame[12:14], "big") == ETH_ARP and frame[20:22] == b"\0\1":
            wanted = ".".join(str(byte) for byte in frame[38:42])
            if wanted in self.neighbours:
                self.lab.arrive(arp_reply_to(frame, self.neighbours[wanted]))
                return
        self.sent.append(Sent(self.lab.now, payload, read_packet(payload)))

    def until(self, time: int, stop_when_sent: bool = False) -> None:
        """Move the clock to `time` by way of every deadline, or to where the first record was sent."""
        turns = 0
        self.turn()
        while not (stop_when_sent and self.sent):
            deadline = self.lab.deadline
            if deadline is None or deadline > time:
                self.lab.now = max(self.lab.now, time)
                self.turn()
                return
            turns = turns + 1 if deadline <= self.lab.now else 0
            if turns > TURNS_IN_ONE_INSTANT:
                raise AssertionError("the engine's next deadline stays in the past")
            self.lab.now = max(self.lab.now, deadline)
            self.turn()

    def run_for(self, seconds: float) -> None:
        self.until(self.lab.now + round(seconds * SECOND))

    def arrive(self, frame: bytes, **vnet: int) -> None:
        self.lab.arrive(frame, **vnet)
        self.turn()

    def take_sent(self) -> list[Sent]:
        out = list(self.sent)
        self.sent.clear()
        return out

    def take_events(self) -> list:
        out, self.events = self.events, []
        return out

    @property
    def now(self) -> int:
        return self.lab.now
