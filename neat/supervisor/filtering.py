"""The packet filter's rules: which there are, their counters, and what they have logged.

The rules that count are in the filter segment, with all that a successor needs to go on with them; this part
changes them there, in one store, and reads what replicas count (docs/contracts/filter.md).
"""

import contextlib
import ipaddress
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from neat import filter as language
from neat.config import Config
from neat.filter import CHAINS, FilterError, Line, Rule
from neat.shm.filter import AREAS, RULES, Logged, Rules, Track
from neat.shm.steering import SLOTS
from neat.supervisor.events import append

LOG_FILE = "filter.log"  # in the directory of the event log
LOG_KEEPS = 64  # entries of a replica, as in neat/shm/filter.pxd
LOOK_S = 0.5  # between two looks at what was logged
PROTOCOLS = {number: name for name, number in language.PROTOCOLS.items()}


@dataclass
class Entry:
    """A rule in its chain. `index`: of its counters, which began at `packets` and `bytes`."""

    chain: str
    rule: Rule
    handle: int
    index: int
    packets: int = 0
    bytes: int = 0


@dataclass
class RuleSet:
    entries: list[Entry] = field(default_factory=list)  # in order, both chains
    policies: dict[str, str] = field(default_factory=lambda: dict.fromkeys(CHAINS, "accept"))
    next_handle: int = 1

    def copy(self) -> "RuleSet":
        return RuleSet(list(self.entries), dict(self.policies), self.next_handle)

    def of(self, chain: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.chain == chain]

    def dump(self) -> bytes:
        rows = [[e.chain, e.rule.text, e.handle, e.index, e.packets, e.bytes] for e in self.entries]
        return json.dumps({"rules": rows, "policies": self.policies, "next": self.next_handle}).encode()

    @staticmethod
    def load(text: bytes) -> "RuleSet":
        saved = json.loads(text)
        entries = [
            Entry(chain, language.parse(rule), handle, index, packets, size)
            for chain, rule, handle, index, packets, size in saved["rules"]
        ]
        return RuleSet(entries, saved["policies"], saved["next"])


class Filtering:
    def __init__(self, config: Config, rules_fd: int, track_fd: int, kept: Path | None) -> None:
        """Goes on with the rules that count; the first of a stack begins with those of its settings."""
        self.shared = Rules(rules_fd)
        self.track = Track(track_fd)
        self.kept = kept
        self.rules = RuleSet()
        if self.shared.generation:
            self.rules = RuleSet.load(self.shared.text)
        else:
            self.change({"do": "replace", "lines": config.filter})
        self.parts = config.has_parts
        self.seen = [self.track.logged(area) for area in range(AREAS)]
        self.look_at = 0.0

    # Changing them

    def change(self, request: dict[str, Any]) -> None:
        """All of it or nothing. FilterError says what is wrong.

        `do`: "add" or "insert" (`lines`, at the end or the beginning of their chains), "delete" (`handle`),
        "replace" (`lines`: all that there is from now on), "flush" (`chain`, or null for both)."""
        wanted = self.rules.copy()
        do = request.get("do")
        if do in ("add", "insert", "replace"):
            if do == "replace":
                wanted.entries, wanted.policies = [], dict.fromkeys(CHAINS, "accept")
            self._apply(wanted, language.parse_lines(_lines(request.get("lines"))), first=do == "insert")
        elif do == "delete":
            self._delete(wanted, request.get("handle"))
        elif do == "flush":
            chain = request.get("chain")
            if chain not in (None, *CHAINS):
                raise FilterError(f"{chain!r}: there are the chains {' and '.join(CHAINS)}")
            wanted.entries = [entry for entry in wanted.entries if chain not in (None, entry.chain)]
        else:
            raise FilterError(f"{do!r}: must be add, insert, delete, replace or flush")
        self._publish(wanted)
        self.rules = wanted

    def _apply(self, wanted: RuleSet, lines: Sequence[Line], first: bool = False) -> None:
        free = self._free_indexes(wanted)
        new: list[Entry] = []
        for line in lines:
            if line.rule is None:
                wanted.policies[line.chain] = line.policy
                continue
            if not free:
                raise FilterError(f"there can be {RULES} rules")
            index = free.pop(0)
            new.append(Entry(line.chain, line.rule, wanted.next_handle, index, *self.track.counts(index)))
            wanted.next_handle += 1
        wanted.entries = [*new, *wanted.entries] if first else [*wanted.entries, *new]

    def _free_indexes(self, wanted: RuleSet) -> list[int]:
        """Of counters; last those of rules that go just now: replicas may write there for a packet more."""
        taken = {entry.index for entry in wanted.entries}
        going = {entry.index for entry in self.rules.entries}
        return sorted(set(range(RULES)) - taken, key=lambda index: (index in going, index))

    def _delete(self, wanted: RuleSet, handle: Any) -> None:
        left = [entry for entry in wanted.entries if entry.handle != handle]
        if len(left) == len(wanted.entries):
            raise FilterError(f"there is no rule with the handle {handle}; `neat filter` shows them")
        wanted.entries = left

    def _publish(self, wanted: RuleSet) -> None:
        chains = [[(e.handle, e.index, e.rule) for e in wanted.of(chain)] for chain in CHAINS]
        self.shared.publish(chains, [wanted.policies[chain] for chain in CHAINS], wanted.dump())

    # Showing them

    def show(self) -> dict[str, Any]:
        """`policies`, and `rules` in order, with what they have counted."""
        rows = []
        for entry in self.rules.entries:
            packets, size = self.track.counts(entry.index)
            rows.append(
                {
                    "chain": entry.chain,
                    "handle": entry.handle,
                    "rule": entry.rule.text,
                    "packets": packets - entry.packets,
                    "bytes": size - entry.bytes,
                }
            )
        return {"policies": self.rules.policies, "rules": rows}

    def turn(self) -> None:
        """What was logged goes into a file."""
        now = time.monotonic()
        if now < self.look_at:
            return
        self.look_at = now + LOOK_S
        for area in range(AREAS):
            written = self.track.logged(area)
            if written != self.seen[area]:
                self._write(area, self.seen[area], written)
                self.seen[area] = written

    def _write(self, area: int, seen: int, written: int) -> None:
        """An entry that is being written over just now may be half another's; who logs more than is kept
        between two looks loses the oldest, and it is said."""
        if self.kept is None:
            return
        lost = max((written - seen) % (1 << 64) - LOG_KEEPS, 0)
        prefixes = {entry.handle: entry.rule.log or "" for entry in self.rules.entries}
        name = name_of(area, self.parts)
        lines = [f"{name}: {lost} packets more were not logged"] if lost else []
        for number in range(written - min((written - seen) % (1 << 64), LOG_KEEPS), written):
            lines.append(describe(self.track.entry(area, number % (1 << 64)), name, prefixes))
        with contextlib.suppress(OSError):
            append(self.kept / LOG_FILE, "\n".join(lines))


def _lines(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise FilterError("lines: must be a list of rules")
    return value


def name_of(area: int, parts: bool) -> str:
    """Of who writes there (neat/parts.py)."""
    if area >= SLOTS:
        return f"replica{area - SLOTS}.ip"
    if parts and area >= SLOTS // 2:
        return f"replica{area - SLOTS // 2}.udp"
    return f"replica{area}"


def describe(entry: Logged, name: str, prefixes: dict[int, str]) -> str:
    """One line, in the words of the kernel's log."""
    ago_s = (time.monotonic_ns() - entry.at) / 1e9
    clock = datetime.fromtimestamp(time.time() - ago_s).astimezone().isoformat(timespec="milliseconds")
    protocol = PROTOCOLS.get(entry.protocol, str(entry.protocol))
    source, destination = ipaddress.IPv4Address(entry.source), ipaddress.IPv4Address(entry.destination)
    ports = f" SPT={entry.sport} DPT={entry.dport}" if protocol in ("tcp", "udp") else ""
    ports += f" TYPE={entry.icmp_type}" if protocol == "icmp" else ""
    chain = CHAINS[entry.chain & 1]
    return (
        f"{clock} {prefixes.get(entry.handle, '')}{chain} handle={entry.handle} {name}"
        f" SRC={source} DST={destination} LEN={entry.length} PROTO={protocol}{ports}"
    )
