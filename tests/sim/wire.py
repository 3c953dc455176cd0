"""A simulated wire between engines, seeded, in virtual time: it loses, repeats, delays and damages frames."""

import heapq
import random
import struct
from dataclasses import dataclass

from neat.stack.lab import Lab
from tests.stack.harness.frames import NEEDS_CSUM, SYN, TCP, VNET, checksum, wire_frames
from tests.stack.harness.host import RECORD_FRAME

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND
NAP = 50 * MILLISECOND  # of an application that could read but does not feel like it


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
    plain: bool = False  # a middlebox takes all options but MSS out of SYNs
    queue: int = 1 << 30  # frames under way in each direction; more are lost, as in a router


class Simulation:
    """Engines on one wire. `tick(host)` plays a host's applications; True: they want a turn after a nap."""

    def __init__(self, seed: int, weather: Weather, labs: list[Lab], offload_wire: bool):
        self.random = random.Random(seed)
        self.weather = weather
        self.labs = labs
        self.offload_wire = offload_wire  # records pass whole, as through a TAP device with offloads
        self.now = labs[0].now
        self.flying: list[tuple[int, int, int, bytes]] = []  # arrival, order, receiver, record
        self.under_way = [0] * len(labs)
        self.wakes: list[int | None] = [None] * len(labs)
        self.order = 0
        self.frames = 0

    def run(self, tick, done, limit: int) -> None:
        """Go on until done(); AssertionError when nothing can happen any more, or after `limit` ns."""
        end = self.now + limit
        for host in range(len(self.labs)):
            self._serve(host, tick)
        while not done():
            times = [time for host in range(len(self.labs)) if (time := self._due(host)) is not None]
            if self.flying:
                times.append(self.flying[0][0])
            if not times:
                raise AssertionError("nothing is under way and no timer runs, but there is more to come")
            self.now = max(self.now, min(times))
            if self.now > end:
                raise AssertionError(f"not done after {limit / SECOND:.0f} s of virtual time")
            self._instant(tick)

    def _due(self, host: int) -> int | None:
        """When the host has something to do by itself."""
        times = [time for time in (self.labs[host].deadline, self.wakes[host]) if time is not None]
        return min(times, default=None)

    def _instant(self, tick) -> None:
        """All that happens now: arrivals and timers; each host that something happened to has its turn."""
        touched = {host for host in range(len(self.labs)) if (self._due(host) or self.now + 1) <= self.now}
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
        self.wakes[host] = self.now + NAP if tick(host) else None
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
        if w.plain:
            record = without_options(record)
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


def without_options(record: bytes) -> bytes:
    """A SYN's options but the MSS, which comes first, become NOPs."""
    at = VNET.size + 34
    if record[VNET.size + 12 : VNET.size + 14] != b"\x08\x00" or record[VNET.size + 23] != TCP:
        return record
    size = (record[at + 12] >> 4) * 4
    if not record[at + 13] & SYN or size <= 24:
        return record
    body = bytearray(record[at:])
    body[24:size] = b"\1" * (size - 24)
    if not record[0] & NEEDS_CSUM:
        body[16:18] = b"\0\0"
        start = record[at - 8 : at] + struct.pack("!BBH", 0, TCP, len(body))
        body[16:18] = struct.pack("!H", checksum(start + body))
    return record[:at] + bytes(body)
