"""Many runs, one after another or some at a time: a file that says in its first line which campaign it is,
then a result a line. What is there is not run again."""

import fcntl
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neat.tools.drill.inject.faults import KINDS
from neat.tools.drill.inject.process import ROOMS
from neat.tools.drill.inject.run import FAILED, GONE, IGNORED, OUTCOMES, Settings, run

RUN_S = 180.0  # no run takes so long
Z95 = 1.959964


class CampaignError(Exception):
    """The file of results is no such file; the text says why."""


def plan_of(number: int, components: Sequence[str], kinds: Sequence[str]) -> tuple[str, str]:
    """Component and kind of a run: all combinations in turn, the same for the same number."""
    return components[number // len(kinds) % len(components)], kinds[number % len(kinds)]


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The campaign and its results; a line that was not written to its end is none."""
    if not path.exists():
        return {}, []
    rows = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise CampaignError(f"{path}, line {number}: is no result of a run") from None
    if rows and not (isinstance(rows[0], dict) and "campaign" in rows[0]):
        raise CampaignError(f"{path}: has no campaign in its first line")
    if not all(isinstance(row, dict) and "class" in row for row in rows[1:]):
        raise CampaignError(f"{path}: has lines that are no results of runs")
    return (rows[0]["campaign"], rows[1:]) if rows else ({}, [])


def append(path: Path, row: dict[str, Any]) -> None:
    """A whole line at the end, whoever writes at the same time; what was begun before and not ended goes."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")


@dataclass(frozen=True)
class Campaign:
    """`stack`: settings of the stacks."""

    components: Sequence[str]
    kinds: Sequence[str]
    seed: int = 0
    stack: Mapping[str, Any] = field(default_factory=dict)

    def head(self) -> dict[str, Any]:
        component, kinds = ", ".join(self.components), list(self.kinds)
        return {"component": component, "kinds": kinds, "seed": self.seed, "stack": dict(self.stack)}


def run_all(
    campaign: Campaign,
    count: int,
    path: Path,
    jobs: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Run numbers 0 to count - 1 that the file has not yet; all its rows. Each run is a process of its own,
    which cannot take the others with it. CampaignError."""
    head, rows = read(path)
    if not head:
        path.unlink(missing_ok=True)
        append(path, {"campaign": campaign.head()})
    elif head != campaign.head():
        raise CampaignError(f"{path}: is of another campaign ({json.dumps(head)})")
    done = {row["number"] for row in rows}
    left = [number for number in range(count) if number not in done]
    running: list[tuple[int, subprocess.Popen[bytes]]] = []
    try:
        while left or running:
            while left and len(running) < jobs:
                number = left.pop(0)
                command = [sys.executable, "-m", "neat.tools.drill.inject.campaign", str(number), str(path)]
                running.append((number, subprocess.Popen(command, stdin=subprocess.DEVNULL)))
            number, process = running.pop(0)
            try:
                process.wait(RUN_S)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait()
            row = next((row for row in read(path)[1] if row["number"] == number), None)
            told = f"{row['kind']} in {row['victim']}: {row['class']}" if row else "it gave no result"
            progress(f"run {number}: {told}")
    finally:
        for _, process in running:
            process.terminate()
            process.wait()
    return read(path)[1]


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson, 1927)."""
    if of == 0:
        return 0.0, 1.0
    share = hits / of
    middle = share + Z95**2 / (2 * of)
    half = Z95 * math.sqrt(share * (1 - share) / of + Z95**2 / (4 * of**2))
    scale = 1 + Z95**2 / of
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def summary(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of runs of one group: how many, and of those that had an effect the share of each class."""
    rows = list(rows)
    counted = Counter(row["class"] for row in rows)
    effective = sum(counted[name] for name in OUTCOMES)
    shares = {}
    for name in OUTCOMES:
        low, high = wilson(counted[name], effective)
        share = round(counted[name] / effective, 4) if effective else None
        shares[name] = {"runs": counted[name], "share": share, "low": round(low, 4), "high": round(high, 4)}
    return {
        "runs": len(rows),
        IGNORED: counted[IGNORED],
        FAILED: counted[FAILED],
        "effective": effective,
        "crashed": sum(row["crashed"] and row["class"] in OUTCOMES for row in rows),
        "came_back": sum(row["came_back"] for row in rows if row["class"] == GONE),
        "classes": shares,
    }


def table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Table 3: all runs, those with a crash (the paper left out the others), by component and by kind."""

    def by(key: str, order: Sequence[str]) -> dict[str, Any]:
        names = sorted({row[key] for row in rows}, key=list(order).index)
        return {name: summary(row for row in rows if row[key] == name) for name in names}

    return {
        "all": summary(rows),
        "crashed": summary(row for row in rows if row["crashed"]),
        "components": by("component", tuple(ROOMS)),
        "kinds": by("kind", KINDS),
    }


def main() -> None:
    """One run, in a process of its own: `python -m neat.tools.drill.inject.campaign NUMBER FILE`; the
    campaign stands in the file's first line."""
    from neat.tools.stack import end_tidily

    end_tidily()
    number, path = int(sys.argv[1]), Path(sys.argv[2])
    head, _ = read(path)
    component, kind = plan_of(number, head["component"].split(", "), head["kinds"])
    settings = Settings(component=component, kind=kind, stack=head["stack"])
    append(path, {"number": number, **run(settings, random.Random(f"{head['seed']}:{number}"))})


if __name__ == "__main__":
    main()
