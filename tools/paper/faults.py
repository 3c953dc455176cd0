"""Table 3: what becomes of faults that are injected, and the results of campaigns from elsewhere."""

import contextlib
import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neat.tools.paper import published
from neat.tools.paper.chart import Axis, Series, bars
from neat.tools.paper.figure import Ask, Cell, Data, Key, Shown, Table

INJECTOR = "neat.tools.drill.inject"
RECOVERIES = ("stateless", "stateful")
RUNS, RUNS_QUICK = 30, 3
RUN_S = 15.0  # at most, usually
IGNORED, FAILED = ("ignored", "failed")
# As a line of a campaign's results says it, and as the table does.
CLASSES = {
    "transparent": "fully transparent",
    "lost": "connections lost, only its own",
    "lost others": "others' lost, too",
    "gone": "service gone",
    "corrupt": "silent corruption",
}
Z = 1.959964  # of 95 %


def built() -> bool:
    return importlib.util.find_spec(INJECTOR) is not None


def measure(ask: Ask) -> Data:
    """Campaigns that are given by their files; without any, small ones of our own."""
    files = list(ask.results)
    if not files and not built():
        ask.lacks("fault injection is not built: neat drill --inject")
        return {"campaigns": []}
    runs = {}
    if not files:
        for recovery in RECOVERIES:
            path = ask.runs.folder / f"inject-replica-{recovery}.jsonl"
            count = RUNS_QUICK if ask.quick else RUNS
            arguments = [
                "drill", "--inject", str(count), "--component", "replica", "--recovery", recovery,
                "--results", str(path), "-j",
            ]  # fmt: skip
            if not ask.runs.resume and not ask.runs.has(arguments):
                path.unlink(missing_ok=True)
            # What is in the file counts, also when there was no time for all of them.
            runs[path], _ = ask(f"{recovery} recovery", arguments, 30 + RUN_S * count)
            files.append(path)
    campaigns = []
    for path in files:
        head, rows = read(path)
        if head is not None:
            campaigns.append(
                {
                    "name": name_of(head),
                    "campaign": head,
                    "rows": rows,
                    "file": path.name,
                    "run": runs.get(path, 0),
                }
            )
            if not effective(rows):
                ask.lacks(f"{name_of(head)}: none of {len(rows)} runs had an effect")
        elif path in ask.results:
            ask.lacks(f"{path}: no results of a campaign")
    return {"campaigns": campaigns}


def read(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The campaign, and of each run what counts here; a line that was broken off is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None, []
    found = []
    for text in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(text))
    if not found or "campaign" not in found[0]:
        return None, []
    keys = ("number", "component", "class", "crashed", "connections", "lost", "hung", "refused")
    rows = [{key: line.get(key) for key in keys} for line in found[1:] if "class" in line]
    return found[0]["campaign"], rows


def name_of(campaign: dict[str, Any]) -> str:
    stack = campaign.get("stack") or {}
    options = [str(value) for _, value in sorted(stack.items())] or ["as it is by default"]
    return f"{campaign.get('component', '')}, {', '.join(options)}"


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's, of 95 %: between which shares the true one is, by `hits` of `of`."""
    if not of:
        return 0.0, 1.0
    share, square = hits / of, Z * Z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def effective(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the paper: runs in which nothing happened are ignored."""
    return [row for row in rows if row["class"] not in (IGNORED, FAILED)]


def preserved(rows: Sequence[dict[str, Any]]) -> float | None:
    """Mean share of all connections that came through, in runs that had an effect."""
    shares = [
        1 - min((row["lost"] or 0) + (row["hung"] or 0), row["connections"]) / row["connections"]
        for row in effective(rows)
        if row["connections"]
    ]
    return sum(shares) / len(shares) if shares else None


def show(data: Data) -> Shown:
    campaigns = [one for one in data["campaigns"] if effective(one["rows"])]
    if not campaigns:
        return Shown()
    table, series = [], []
    for at, one in enumerate(campaigns):
        rows = effective(one["rows"])
        counts = {name: sum(row["class"] == name for row in rows) for name in CLASSES}
        cells: list[Cell | str] = [f"{one['name']} ({one['file']})", Cell(str(len(rows)), one["run"])]
        for name, count in counts.items():
            low, high = interval(count, len(rows))
            text = f"{count / len(rows):.1%} ({low:.0%} … {high:.0%})"
            cells.append(Cell(text, one["run"], "bad" if count and name in ("gone", "corrupt") else ""))
        table.append(cells)
        around = [tuple(100 * end for end in interval(count, len(rows))) for count in counts.values()]
        points = [(n, 100 * count / len(rows)) for n, count in enumerate(counts.values())]
        series.append(Series(one["name"], points, "ours", at, around))  # type: ignore[arg-type]
    told = [(0, published.TABLE_3["transparent"]), (1, published.TABLE_3["lost"])]
    series.append(Series("published", told, "published"))
    words = ("transparent", "own lost", "others' lost", "service gone", "corrupt")
    picture = bars(
        "Faults", Axis("what became of them", words=words), Axis("% of runs with an effect"), series
    )
    table.append(
        [
            f"published, {published.TABLE_3_RUNS} runs that crashed, stateless",
            Cell(str(published.TABLE_3_RUNS), kind="published"),
            Cell(f"{published.TABLE_3['transparent']:g}%", kind="published"),
            Cell(f"{published.TABLE_3['lost']:g}%", kind="published"),
            "",
            "",
            "",
        ]
    )
    total = sum(len(one["rows"]) for one in campaigns)
    useful = sum(len(effective(one["rows"])) for one in campaigns)
    note = (
        f"Of {total} runs {useful} had an effect; the others are ignored, as in the paper. In brackets "
        "Wilson's interval of 95 %. The paper's faults are in all components of a replica, of which only TCP "
        "has state; where a campaign's name says “replica”, ours are all in the process that has everything."
    )
    head = ("campaign", "runs with an effect", *CLASSES.values())
    keys = [
        Key(
            f"fully transparent, of runs with an effect: {one['name']}",
            f"{published.TABLE_3['transparent']:g} % of {published.TABLE_3_RUNS}",
            f"{row[2].text} of {row[1].text}",  # type: ignore[union-attr]
        )
        for one, row in zip(campaigns, table, strict=False)
    ]
    return Shown((picture,), (Table(head, table),), (note,), keys)
