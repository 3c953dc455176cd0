"""A simulated wire between engines, seeded, in virtual time: it loses, repeats, delays and damages frames."""

import heapq
import random
from dataclasses import dataclass

from neat.stack.lab import Lab
from tests.stack.harness.frames import NEEDS_CSUM, VNET, wire_frames
from tests.stack.harness.host import RECORD_FRAME

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND


@dataclass(frozen=True)
class Weather:
    """What the wire does to a frame: chances, and delays in ns. A frame held back is overtaken by others."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    delay: int = 5 * MILLISECOND
    jitter: int = 0
    hold: int = 20 * MILLISECOND
    queue: int = 1 << 30  # frames under way in each direction; more are lost, as in a router


class Simulation:
    """Engines on one wire. Each `tick(host)` plays a host's application after anything happened to it."""

    def __init__(self, seed: int, weather: Weather, labs: list[Lab], offload_wire: bool):
        self.random = random.Random(seed)
        self.weather = weather
        self.labs = labs
        self.offload_wire = offload_wire  # records pass whole, as through a TAP device with offloads
        self.now = labs[0].now
        self.flying: list[tuple[int, int, int, bytes]] = []  # arrival, order, receiver, record
        self.under_way = [0] * len(labs)
        self.order = 0
        self.frames = 0

    def run(self, tick, done, limit: int) -> None:
        """Go on until done(); AssertionError when nothing can happen any more, or after `limit` ns."""
        end = self.now + limit
        for host in range(len(self.labs)):
            self._serve(host, tick)
        while not done():
            times = [lab.deadline for lab in self.labs if lab.deadline is not None]
            if self.flying:
                times.append(self.flying[0][0])
            if not times:
                raise AssertionError(
                    "nothing is under way and no timer runs, but the streams are not complete"
                )
            self.now = max(self.now, min(times))
            if self.now > end:
                raise AssertionError(f"not done after {limit / SECOND:.0f} s of virtual time")
            self._instant(tick)

    def _instant(self, tick) -> None:
        """All that happens now: arrivals and timers; each host that something happened to has its turn."""
        touched = {
            host
            for host, lab in enumerate(self.labs)
            if lab.deadline is not None and lab.deadline <= self.now
        }
        while self.flying and self.flying[0][0] <= self.now:
            _, _, host, record = heapq.heappop(self.flying)
            self.under_way[host] -= 1
            self.labs[host].now = self.now
            self.labs[host].arrive_record(record)
            touched.add(host)
        for host in sorted(touched):
            self._serve(host, tick)

    def _serve(self, host: int, tick) -> None:
        lab = self.labs[host]
        lab.now = self.now
        lab.advance(0)
        tick(host)
        lab.scan()
        for kind, record in lab.transmit():
            if kind == RECORD_FRAME:
                self._send(1 - host, record)

    def _send(self, host: int, record: bytes) -> None:
        if self.offload_wire:
            self._fly(host, record)
        else:
            for frame in wire_frames(record):
                self._fly(host, bytes(VNET.size) + frame)

    def _fly(self, host: int, record: bytes) -> None:
        w, chance = self.weather, self.random.random
        self.frames += 1
        if chance() < w.loss or self.under_way[host] >= w.queue:
            return
        copies = 2 if chance() < w.duplicate else 1
        for _ in range(copies):
            delay = w.delay + (self.random.randrange(w.jitter) if w.jitter else 0)
            if chance() < w.reorder:
                delay += self.random.randrange(1, w.hold)
            flown = self._damage(record) if chance() < w.corrupt else record
            self.order += 1
            self.under_way[host] += 1
            heapq.heappush(self.flying, (self.now + delay, self.order, host, flown))

    def _damage(self, record: bytes) -> bytes:
        """Flip one bit of an IPv4 packet, which every checksum finds; ARP has none, so it is spared."""
        if record[0] & NEEDS_CSUM or record[VNET.size + 12 : VNET.size + 14] != b"\x08\x00":
            return record
        at = self.random.randrange(VNET.size + 14, len(record))
        damaged = bytearray(record)
        damaged[at] ^= 1 << self.random.randrange(8)
        return bytes(damaged)
