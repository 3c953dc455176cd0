"""When there are to be more replicas, or fewer: a judgement of their load and of their rings, as a plain
function of what was seen (NEaT §3.4).

One more when the replicas together have worked for `up` percent of the time, or frames pile up in a ring or
get lost; one less when those that are left would then have no more than `down` percent. Between the two
nothing changes, a single look decides nothing, and after a change nothing is judged for a while: what it
brings must show first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LOOKS_UP, LOOKS_DOWN = 2, 5  # in a row: who is late with more harms more than who is late with less
RING_PERCENT = 50  # of a ring that is full is as much as a burst may fill


@dataclass(frozen=True)
class Meter:
    """What has been counted of one replica until `at` (seconds)."""

    at: float
    work_ns: int  # in turns that had something to do
    drops: int  # frames for it that found no room
    ring_percent: float  # of its receive ring that is full just now

    def until(self, later: "Meter") -> "Sample":
        spent = max(later.at - self.at, 1e-9)
        load = min(max((later.work_ns - self.work_ns) / spent / 1e7, 0.0), 100.0)
        return Sample(load, 100.0 if later.drops > self.drops else later.ring_percent)


@dataclass(frozen=True)
class Sample:
    """One replica between two looks, in percent."""

    load: float
    ring: float  # 100 also when something was lost


@dataclass(frozen=True)
class Decision:
    count: int
    why: str


class Autoscale:
    def __init__(self, low: int, high: int, up: float, down: float, cooldown_s: float) -> None:
        """Between `low` and `high` replicas; `up` and `down` in percent."""
        self.low, self.high = low, high
        self.up, self.down = up, down
        self.cooldown_s = cooldown_s
        self.quiet_until = 0.0
        self.pressed = self.eased = 0  # looks in a row that asked for more, for less

    def disturbed(self) -> None:
        """There is nothing to judge by: begin anew."""
        self.pressed = self.eased = 0

    def decide(self, samples: Sequence[Sample], now: float) -> Decision | None:
        """`samples`: one of each replica that is to stay. What is to be, if not what is."""
        count = len(samples)
        if count < self.low or count > self.high:
            bounds = f"{count} replicas, and it must be {self.low} to {self.high}"
            return self._change(max(self.low, min(count, self.high)), bounds, now)
        if now < self.quiet_until:
            return None
        total = sum(sample.load for sample in samples)
        ring = max(sample.ring for sample in samples)
        crowded = ring >= RING_PERCENT
        left = total / (count - 1) if count > 1 else 100.0
        self.pressed = self.pressed + 1 if total / count >= self.up or crowded else 0
        self.eased = self.eased + 1 if left <= self.down and not crowded else 0
        if self.pressed >= LOOKS_UP and count < self.high:
            rings = f", a ring {ring:.0f} % full" if crowded else ""
            return self._change(count + 1, f"load {total / count:.0f} %, limit {self.up:g} %{rings}", now)
        if self.eased >= LOOKS_DOWN and count > self.low:
            why = f"load {total / count:.0f} %, with one less {left:.0f} %, limit {self.down:g} %"
            return self._change(count - 1, why, now)
        return None

    def _change(self, count: int, why: str, now: float) -> Decision:
        self.disturbed()
        self.quiet_until = now + self.cooldown_s
        return Decision(count, why)
