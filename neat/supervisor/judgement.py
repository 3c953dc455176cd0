"""The judgement by function: whether what a replica does is of use to anybody.

A component can be wrong without dying: it beats, empties its rings, and sends what nobody accepts. Nothing
inside it tells. What tells is what its peers do: they repeat themselves, and acknowledge nothing. So a
replica is suspected when, since its last progress, it was in vain LEAST times, and that for `in_vain_ms`; or
when MANY segments led to nothing while another replica got on.

A suspicion is no proof: a peer that vanished looks the same. But who has a state that survives is replaced
at no cost but a few milliseconds, so that is the proof. What might be at fault goes one at a time, who costs
nothing first: the driver, if nobody gets on; the IP part; the replica, which keeps its state. If none of them
was it, the next round is put off, each time twice as long. Where recovery is stateless, or a state is to be
given up, another replica's progress must speak against it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from neat import parts
from neat.config import Config
from neat.supervisor.component import Component, Phase

ROUND_NS = 500_000_000
LEAST = 6  # as often in vain
MANY = 64  # segments that led to nothing, while others got on, if there are others
PAUSE_NS = 10_000_000_000  # after a first replacement
MOST_PAUSE_NS = 300_000_000_000
FORGET_NS = 3_600_000_000_000  # without a replacement the next pause is the first again

# What peers do that have not understood us, or that we have not understood.
MISUNDERSTOOD = (
    "ip_bad_checksum", "tcp_bad_checksum", "tcp_old_data", "tcp_out_of_window", "tcp_paws", "tcp_inexact_rst",
    "tcp_bad_ack", "tcp_syn_in_window",
)  # fmt: skip


# What came, less what is not TCP's, or not for us; what the IP part hands up its other parts count again.
SEGMENTS = (
    "rx_frames", "-arp_in", "-icmp_in", "-udp_in", "-ip_handed_up",
    "-rx_not_for_us", "-rx_unknown_ethertype", "-rx_vlan", "-rx_ipv6",
)  # fmt: skip


@dataclass(frozen=True)
class Function:
    """Something that a replica is there for, by its counters; those with a minus are taken off. `vain` is
    what tells by itself, `handled` what does in comparison with others."""

    what: str
    progress: tuple[str, ...]
    vain: tuple[str, ...]
    handled: tuple[str, ...]


FUNCTIONS = (
    Function(
        "nothing is acknowledged",
        ("tcp_acked", "tcp_bytes_in", "tcp_handshakes"),
        # Forged SYNs, and those of scans, draw SYN-ACKs that nobody wants.
        ("tcp_timeouts", "-tcp_syn_retransmits", *MISUNDERSTOOD),
        SEGMENTS,
    ),
    Function(
        "no handshake ends", ("tcp_handshakes",), ("tcp_syns_again",), ("tcp_syns_in", "tcp_no_connection")
    ),
    Function("nobody is served", ("tcp_served",), ("tcp_asked",), ("tcp_asked",)),
)


@dataclass
class Account:
    """Of one function of one replica, since its last progress. Times in ns; 0: not yet."""

    counted: tuple[int, int, int]  # progress, in vain, handled: then
    vain: int = 0
    handled: int = 0
    progress_at: int = 0
    vain_since: int = 0  # when something was seen in vain first
    idle_since: int = 0  # when something was handled first

    def add(self, vain: int, handled: int, now: int) -> None:
        """What is counted by now."""
        self.vain, self.handled = vain - self.counted[1], handled - self.counted[2]
        if self.vain > 0 and not self.vain_since:
            self.vain_since = now
        if self.handled > 0 and not self.idle_since:
            self.idle_since = now


@dataclass
class Case:
    """What is known of one replica."""

    incarnations: tuple[int, ...] = ()  # whose counters the accounts are of
    accounts: list[Account] = field(default_factory=list)
    replaced: list[int] = field(default_factory=lambda: [0] * len(FUNCTIONS))  # components, since it got on
    replaced_at: int = 0
    pause: int = 0  # after that


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
        self.cases = {home: self.cases.get(home) or Case(pause=self.patience) for home in replicas}
        running = {home: of for home, of in replicas.items() if all(c.phase is Phase.RUNNING for c in of)}
        for home, of in running.items():
            self._note(self.cases[home], of, now)
        for home, of in running.items():
            found = self._judge(home, of, components, now)
            if found is not None:
                return found
        return None

    def _note(self, case: Case, of: list[Component], now: int) -> None:
        incarnations = tuple(component.incarnation for component in of)
        if incarnations != case.incarnations:
            case.incarnations = incarnations
            case.accounts = [Account(self._counted(of, function)) for function in FUNCTIONS]
            return
        for at, account in enumerate(case.accounts):
            counted = self._counted(of, FUNCTIONS[at])
            if counted[0] != account.counted[0]:
                case.accounts[at] = Account(counted, progress_at=now)
                case.replaced[at] = 0
            else:
                account.add(*counted[1:], now)

    def _counted(self, of: Collection[Component], function: Function) -> tuple[int, int, int]:
        """Progress, what was in vain, what was handled: by all parts of a replica."""

        def total(names: Iterable[str]) -> int:
            return sum(self._counter(component.name, name) for component in of for name in names)

        return total(function.progress), total(function.vain), total(function.handled)

    def _counter(self, component: str, name: str) -> int:
        return -self.counter(component, name[1:]) if name[0] == "-" else self.counter(component, name)

    def _judge(
        self, home: int, of: list[Component], components: Iterable[Component], now: int
    ) -> Finding | None:
        case = self.cases[home]
        if now < case.replaced_at + case.pause:
            return None
        for at, account in enumerate(case.accounts):
            others = [c.accounts[at].progress_at for k, c in self.cases.items() if k != home and c.accounts]
            vain = account.vain >= LEAST and self._is_long(account.vain_since, now)
            idle = account.handled >= MANY and self._is_long(account.idle_since, now)
            witness = idle and any(t > account.idle_since for t in others)
            if not (vain or witness or (idle and not others)):
                continue
            since = account.vain_since if vain else account.idle_since
            what = f"{account.vain} times in vain" if vain else f"after {account.handled} segments"
            why = f"{FUNCTIONS[at].what}, {what} in {(now - since) / 1e9:.1f} s"
            nobody = not any(t > now - self.patience for t in others)
            suspects = self._suspects(of, components, nobody, witness)
            if suspects:
                return self._find(case, at, suspects, why, witness, now)
        return None

    def _is_long(self, since: int, now: int) -> bool:
        return 0 < since <= now - self.patience

    def _suspects(
        self, of: list[Component], components: Iterable[Component], nobody: bool, witness: bool
    ) -> list[Component]:
        """Those that may be at fault, and may be replaced. `nobody`: gets on."""
        found = [c for c in components if c.kind == "driver" and nobody and self.config.datapath == "driver"]
        found += [component for component in of if component.part == parts.IP]
        if witness or self.config.recovery == "stateful":
            found += [component for component in of if component.steered]
        return [component for component in found if component.phase is Phase.RUNNING]

    def _find(
        self, case: Case, at: int, suspects: list[Component], why: str, witness: bool, now: int
    ) -> Finding:
        """Whose turn it is."""
        number = case.replaced[at]
        component = suspects[number % len(suspects)]
        if now > case.replaced_at + FORGET_NS:
            case.pause = self.patience
        if component is suspects[-1]:
            case.pause = min(max(2 * case.pause, PAUSE_NS), MOST_PAUSE_NS)
        for other in self.cases.values():
            if other is case or component.kind == "driver":
                other.replaced[at] += 1
                other.replaced_at = now
        lost = witness and number >= len(suspects) and component.steered
        return Finding(component, why, lost)
