"""Which component runs on which processors: the setting `placement`, as plain functions of what there is.

| setting           | means                                                                              |
|-------------------|------------------------------------------------------------------------------------|
| `""`              | the kernel decides                                                                 |
| `"dedicated"`     | a processor for each component, first those of different cores (NEaT fig. 8a)      |
| `"colocated"`     | driver and syscall server on one core, replicas on the others (NEaT fig. 8b)       |
| `"single"`        | all on one processor                                                               |
| `"load"`          | the busiest components have one each, the others share the rest                    |
| `["driver=0", …]` | by hand: `NAME=CPUS`, the first that matches; * and ? in names, CPUS like `0,2-3`   |

What no rule names runs anywhere. `programs` is what `neat run` starts: where nobody says, it has the
processors that no component has, if there are some. The supervisor is placed only by hand.
"""

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

Cpus = tuple[int, ...]
Setting = str | list[str]
PROFILES = ("dedicated", "colocated", "single", "load")
PROGRAMS = "programs"
MOST = 1 << 13  # processors that Linux knows at most (CONFIG_NR_CPUS)
TOPOLOGY = Path("/sys/devices/system/cpu")
NAME = re.compile(r"[a-z0-9*?.]{1,32}")
BUSY, IDLE = 0.2, 0.1  # of a processor: who has none of its own gets one, who has one gives it back
MARGIN = 1.5  # busier than an owner by that much takes its place


class PlacementError(ValueError):
    """A setting that makes no sense; the text says what is wrong with it."""


def check(setting: Setting) -> None:
    """Its form. PlacementError."""
    if isinstance(setting, str):
        if setting and setting not in PROFILES:
            raise PlacementError(f"must be one of {', '.join(PROFILES)}, or a list like ['driver=0']")
        return
    rules(setting)


def check_cores(setting: Setting, allowed: Collection[int]) -> None:
    """What it names can be had. PlacementError."""
    for name, cpus in rules(setting) if isinstance(setting, list) else []:
        missing = [cpu for cpu in cpus if cpu not in allowed]
        if missing:
            there_are = f"this process may use {text_of(allowed)}"
            raise PlacementError(f"{name}: there is no processor {text_of(missing)} for us ({there_are})")


def rules(setting: Sequence[str]) -> list[tuple[str, Cpus]]:
    found = []
    for rule in setting:
        name, equals, cpus = rule.partition("=")
        if not equals or not NAME.fullmatch(name.strip()):
            raise PlacementError(f"{rule!r}: must be NAME=CPUS, like driver=0 or replica*=1-3")
        found.append((name.strip(), cpus_of(cpus)))
    return found


def cpus_of(text: str) -> Cpus:
    """Numbers and ranges with commas, as in cpuset(7)."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < MOST:
            raise PlacementError(f"{text!r}: must be processors, like 0,2-3")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def text_of(cpus: Collection[int]) -> str:
    """The same, the shortest way."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1][1:] = [cpu]
        else:
            parts.append([cpu])
    return ",".join("-".join(map(str, part)) for part in parts)


def cores(cpus: Collection[int], topology: Path = TOPOLOGY) -> list[Cpus]:
    """These processors by the cores whose hardware threads they are, in order."""
    found: dict[str, list[int]] = {}
    for cpu in sorted(cpus):
        try:
            core = (topology / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            core = str(cpu)
        found.setdefault(core, []).append(cpu)
    return [tuple(threads) for threads in found.values()]


def plan(
    setting: Setting, names: Sequence[str], there: Sequence[Cpus], owners: Mapping[str, int]
) -> dict[str, Cpus]:
    """Where each of these components runs, and PROGRAMS. `there`: the processors, by cores. `owners`: of
    "load", who has which by himself (`by_load`). What is missing runs anywhere."""
    parts = sorted((name for name in names if name != "supervisor"), key=place_of)
    every = [cpu for core in there for cpu in core]
    placed: dict[str, Cpus] = {}
    if isinstance(setting, list):
        return by_hand(setting, [*names, PROGRAMS])
    if setting == "dedicated":
        threads = max(map(len, there), default=0)
        spread = [core[at] for at in range(threads) for core in there if at < len(core)]
        placed = {name: (spread[at % len(spread)],) for at, name in enumerate(parts)}
    elif setting == "colocated":
        replicas = list(dict.fromkeys(name.partition(".")[0] for name in parts if is_replica(name)))
        others = there[1:] or there
        for name in parts:
            at = replicas.index(name.partition(".")[0]) if is_replica(name) else -1
            placed[name] = others[at % len(others)] if at >= 0 else there[0]
    elif setting == "single":
        placed = dict.fromkeys(parts, (every[0],))
    elif setting == "load":
        rest = tuple(cpu for cpu in every if cpu not in owners.values())
        return {name: (owners[name],) if name in owners else rest for name in [*parts, PROGRAMS]}
    free = tuple(cpu for cpu in every if not any(cpu in cpus for cpus in placed.values()))
    return placed | ({PROGRAMS: free} if placed and free else {})


def place_of(name: str) -> tuple[int, int, str]:
    """Driver, replicas by their numbers, then the others: who is worth a processor first."""
    if is_replica(name):
        return 1, int(re.match(r"replica(\d+)", name)[1]), name  # type: ignore[index]
    return (0 if name == "driver" else 2), 0, name


def is_replica(name: str) -> bool:
    return re.match(r"replica\d", name) is not None


def by_hand(setting: Sequence[str], names: Sequence[str]) -> dict[str, Cpus]:
    found: dict[str, Cpus] = {}
    for pattern, cpus in rules(setting):
        for name in names:
            named = name == pattern or (name != PROGRAMS and fnmatch.fnmatchcase(name, pattern))
            if named and name not in found:
                found[name] = cpus
    return found


def by_load(loads: Mapping[str, float], cpus: Sequence[int], owners: Mapping[str, int]) -> dict[str, int]:
    """Who has a processor by himself, from the loads (of a processor) and who had one; one at least is
    everybody else's. Owners change only for one that is clearly busier."""
    found = {name: cpu for name, cpu in owners.items() if loads.get(name, 0.0) >= IDLE and cpu in cpus}
    free = [cpu for cpu in cpus if cpu not in found.values()]
    for name in sorted(loads, key=lambda name: -loads[name]):
        if name in found or loads[name] < BUSY:
            continue
        if len(free) > 1:
            found[name] = free.pop()
            continue
        least = min(found, key=lambda owner: loads[owner], default=None)
        if least is not None and loads[name] > MARGIN * loads[least]:
            found[name] = found.pop(least)
    return found
