"""Who kills replicas again and again is kept out for a while: the driver drops his packets.

A flow that killed STRIKES times is. A source that killed from STRIKES flows is too, but for its flows that
are live already: they may be others' behind the same address, and have strikes of their own; one of them that
kills meanwhile is kept out at once.
"""

import socket
from collections import deque

from neat.drivers.pysteer import PacketKind, classify
from neat.shm.steering import Steering

STRIKES = 3
WINDOW_NS = 600 * 1_000_000_000  # what is longer ago is forgotten
KEPT_OUT_NS = 60 * 1_000_000_000
MOST_DEATHS = 256
Flow = tuple[str, int, int]  # address, protocol and port of the source


class Quarantine:
    def __init__(self, steering: Steering, own_address: str) -> None:
        """`steering`: writable. The stack's own address is not kept out, only flows from it."""
        self.steering = steering
        self.own_address = own_address
        self.deaths: deque[tuple[int, Flow]] = deque(maxlen=MOST_DEATHS)

    def killed(self, record: bytes, now: int) -> str:
        """A replica died with this record in its hands. Who is kept out from now on, in words; "": nobody."""
        flow = flow_of(record)
        if flow is None:
            return ""
        self.deaths.append((now, flow))
        recent = [of for at, of in self.deaths if now - at < WINDOW_NS]
        address = flow[0]
        suspected = any(who[0] == address and not who[1] for who in self.steering.quarantined(now))
        told = []
        if recent.count(flow) >= STRIKES or suspected:
            self.steering.quarantine(*flow, now + KEPT_OUT_NS)
            told.append(describe(flow))
        flows = {of for of in recent if of[0] == address}
        if len(flows) >= STRIKES and address != self.own_address:
            self.steering.quarantine(address, 0, 0, now + KEPT_OUT_NS)
            told.append(f"{address} but for its live connections")
        return f"{' and '.join(told)}, for {KEPT_OUT_NS // 10**9} s" if told else ""


def flow_of(record: bytes) -> Flow | None:
    """Where a record came from, as the driver sees it; None for what is no IP."""
    seen = classify(record)
    if seen["kind"] not in (PacketKind.PACKET_TUPLE, PacketKind.PACKET_HOSTS, PacketKind.PACKET_ICMP_ERROR):
        return None
    return seen["remote"], seen["protocol"], seen["remote_port"]


def describe(flow: Flow) -> str:
    address, protocol, port = flow
    names = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_ICMP: "icmp"}
    name = names.get(protocol, f"protocol {protocol}")
    return f"{name} from {address}:{port}" if port else f"{name} from {address}"
