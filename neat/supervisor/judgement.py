"""The judgement by function: whether what a replica does is of use to anybody.

A component can be wrong without dying: it beats, empties its rings, and sends what nobody accepts. Nothing
inside it tells. Its peers do, in two ways, of which neither can be had by sending frames that make no sense:

- New connections fall to the replicas by chance, each its share. One that has completed no handshake, or
  served none of them, while the others did so often that this cannot be chance (UNLIKELY), is wrong.
- Whatever it sent again on established connections, LEAST times for `in_vain_ms`, nothing was acknowledged.

The second looks the same where peers have vanished. But who has a state that survives is replaced at no cost
but a few milliseconds, so that is the proof. What might be at fault goes one at a time, who costs nothing
first: the driver, if nobody gets on; the IP part; the replica, which keeps its state. If none of them was it,
the next round is put off, each time twice as long. Where recovery is stateless, or a state is to be given up,
the others must speak against it.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from neat import parts
from neat.config import Config
from neat.supervisor.component import Component, Phase

ROUND_NS = 500_000_000
UNLIKELY = 1e-6
LEAST = 12  # retransmissions, of all connections
PAUSE_NS = 10_000_000_000  # after a first round
MOST_PAUSE_NS = 300_000_000_000
FORGET_NS = 3_600_000_000_000  # without a replacement the next pause is the first again

# What falls to replicas by chance, and what it says of one that has none of it.
SHARED = (("tcp_handshakes", "completes no handshake"), ("tcp_served", "serves nobody"))
PROGRESS = ("tcp_acked", "tcp_bytes_in", "tcp_handshakes")
AGAIN, OF_SYNS = "tcp_timeouts", "tcp_syn_retransmits"  # anybody may forge SYNs that draw the second


def enough(replicas: int) -> int:
    """How many new connections have to fall to the others for it to be UNLIKELY that one has none."""
    return math.ceil(math.log(UNLIKELY) / math.log(1 - 1 / replicas))


@dataclass
class Case:
    """What is known of one replica. Times in ns."""

    pause: int  # after `replaced_at`
    incarnations: tuple[int, ...] = ()  # whose counters `seen` has
    seen: dict[str, int] = field(default_factory=dict)
    ever: list[int] = field(default_factory=lambda: [0] * len(SHARED))  # counted, by all incarnations
    since: list[int] = field(default_factory=lambda: [0] * len(SHARED))  # it has counted none
    others: list[int] = field(default_factory=lambda: [0] * len(SHARED))  # what they had counted until then
    progress_at: int = 0
    again: int = 0  # retransmissions until then
    stalled_at: int = 0  # when there was one after that; 0: not yet
    replaced: int = 0  # components, since all was well
    replaced_at: int = 0


@dataclass(frozen=True)
class Finding:
    """Who is to be replaced, and why. `lost`: its state goes with it."""

    component: Component
    why: str
    lost: bool


class Judgement:
    """Of all replicas, once in ROUND_NS."""

    def __init__(self, config: Config, counter: Callable[[str, str], int]) -> None:
        """`counter`: (component, name) → what the board says."""
        self.config = config
        self.counter = counter
        self.patience = config.in_vain_ms * 1_000_000
        self.cases: dict[int, Case] = {}  # by slot
        self.next_round = 0

    def look(self, components: Collection[Component], now: int) -> Finding | None:
        """Who is to be replaced now: one at a time."""
        if not self.patience or now < self.next_round:
            return None
        self.next_round = now + ROUND_NS
        replicas: dict[int, list[Component]] = {}
        for component in components:
            if component.home is not None:
                replicas.setdefault(component.home, []).append(component)
        self.cases = {home: self.cases.get(home) or Case(self.patience) for home in replicas}
        running = {home: of for home, of in replicas.items() if all(c.phase is Phase.RUNNING for c in of)}
        news = {home: self._count(self.cases[home], of) for home, of in running.items()}
        for home, of in running.items():
            self._note(home, news[home], tuple(c.incarnation for c in of), now)
        for home, of in running.items():
            found = self._judge(home, of, components, now)
            if found is not None:
                return found
        return None

    def _count(self, case: Case, of: Sequence[Component]) -> dict[str, int]:
        """What was counted since the last look, by all parts of a replica; a new process counts from zero."""
        names = {*PROGRESS, AGAIN, OF_SYNS, *(name for name, _ in SHARED)}
        counted = {name: sum(self.counter(c.name, name) for c in of) for name in names}
        news = {name: max(value - case.seen.get(name, 0), 0) for name, value in counted.items()}
        case.seen = counted
        for at, (name, _) in enumerate(SHARED):
            case.ever[at] += news[name]
        return news

    def _note(self, home: int, news: dict[str, int], incarnations: tuple[int, ...], now: int) -> None:
        case = self.cases[home]
        fresh = incarnations != case.incarnations
        case.incarnations = incarnations
        for at, (name, _) in enumerate(SHARED):
            if fresh or news[name]:
                case.since[at], case.others[at] = now, self._others(home, at)
        if fresh or any(news[name] for name in PROGRESS):
            case.progress_at = 0 if fresh else now
            case.again, case.stalled_at = 0, 0
        else:
            case.again += news[AGAIN] - news[OF_SYNS]
            if case.again > 0 and not case.stalled_at:
                case.stalled_at = now
        if not fresh and all(news[name] for name, _ in SHARED):
            case.replaced = 0

    def _others(self, home: int, at: int) -> int:
        return sum(case.ever[at] for other, case in self.cases.items() if other != home)

    def _judge(
        self, home: int, of: list[Component], components: Iterable[Component], now: int
    ) -> Finding | None:
        case = self.cases[home]
        if now < case.replaced_at + case.pause:
            return None
        why = "" if any(c.leaving for c in of) else self._passed_over(home, now)
        witness = why != ""
        if not witness and case.again >= LEAST and now - case.stalled_at >= self.patience:
            seconds = (now - case.stalled_at) / 1e9
            why = f"nothing is acknowledged, sent again {case.again} times in {seconds:.1f} s"
        suspects = self._suspects(home, of, components, witness, now) if why else []
        return self._find(case, suspects, why, witness, now) if suspects else None

    def _passed_over(self, home: int, now: int) -> str:
        """In words, whether it has nothing of what falls to all of them."""
        case = self.cases[home]
        if len(self.cases) < 2:
            return ""
        for at, (_, what) in enumerate(SHARED):
            theirs = self._others(home, at) - case.others[at]
            if theirs >= enough(len(self.cases)) and now - case.since[at] >= self.patience:
                return f"{what}, while others had {theirs} in {(now - case.since[at]) / 1e9:.1f} s"
        return ""

    def _suspects(
        self, home: int, of: list[Component], components: Iterable[Component], witness: bool, now: int
    ) -> list[Component]:
        """Those that may be at fault, and may be replaced."""
        others = [case.progress_at for slot, case in self.cases.items() if slot != home]
        nobody = not any(at > now - self.patience for at in others)
        found = [c for c in components if c.kind == "driver" and nobody and self.config.datapath == "driver"]
        found += [component for component in of if component.part == parts.IP]
        if witness or self.config.recovery == "stateful":
            found += [component for component in of if component.steered]
        return [component for component in found if component.phase is Phase.RUNNING]

    def _find(self, case: Case, suspects: list[Component], why: str, witness: bool, now: int) -> Finding:
        """Whose turn it is."""
        number = case.replaced
        component = suspects[number % len(suspects)]
        if now > case.replaced_at + FORGET_NS:
            case.pause = self.patience
        if component is suspects[-1]:
            case.pause = min(max(2 * case.pause, PAUSE_NS), MOST_PAUSE_NS)
        for other in self.cases.values():
            if other is case or component.kind == "driver":
                other.replaced += 1
                other.replaced_at = now
        return Finding(component, why, witness and number >= len(suspects) and component.steered)
