"""Table 3: what becomes of faults that are injected, and the results of campaigns from elsewhere."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neat.tools.drill.inject.campaign import CampaignError, wilson
from neat.tools.drill.inject.campaign import read as read_campaign
from neat.tools.drill.inject.run import GONE, LOST, OTHERS, OUTCOMES, TRANSPARENT, WRONG
from neat.tools.paper import published
from neat.tools.paper.chart import Axis, Series, bars
from neat.tools.paper.figure import Ask, Cell, Data, Key, Shown, Table

RECOVERIES = ("stateless", "stateful")
RUNS, RUNS_QUICK = 30, 3
RUN_S = 15.0  # at most, usually
# As the table and the picture say it; in the order of columns.
CLASSES = {
    TRANSPARENT: ("fully transparent", "transparent"),
    LOST: ("connections lost, only its own", "own lost"),
    OTHERS: ("others' lost, too", "others' lost"),
    GONE: ("service gone", "service gone"),
    WRONG: ("silent corruption", "corrupt"),
}


def measure(ask: Ask) -> Data:
    """Campaigns that are given by their files; without any, small ones of our own."""
    files = list(ask.results)
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
    """The campaign, and of each run what counts here; None where the file is no such thing."""
    try:
        head, rows = read_campaign(path)
    except (CampaignError, OSError, UnicodeDecodeError):
        return None, []
    keys = ("number", "component", "class", "crashed", "connections", "lost", "hung", "refused")
    return head or None, [{key: row.get(key) for key in keys} for row in rows]


def name_of(campaign: dict[str, Any]) -> str:
    stack = campaign.get("stack") or {}
    options = [str(value) for _, value in sorted(stack.items())] or ["as it is by default"]
    return f"{campaign.get('component', '')}, {', '.join(options)}"


def effective(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the paper: runs in which nothing happened are ignored."""
    return [row for row in rows if row["class"] in OUTCOMES]


def preserved(rows: Sequence[dict[str, Any]]) -> float | None:
    """Mean share of all connections that came through, in runs that had an effect."""
    shares = [
        1 - min((row["lost"] or 0) + (row["hung"] or 0), row["connections"]) / row["connections"]
        for row in effective(rows)
        if row["connections"]
    ]
    return sum(shares) / len(shares) if shares else None


def share(hits: int, of: int) -> str:
    low, high = wilson(hits, of)
    return f"{hits / of:.1%} ({low:.0%} … {high:.0%})"


def show(data: Data) -> Shown:
    campaigns = [one for one in data["campaigns"] if effective(one["rows"])]
    if not campaigns:
        return Shown()
    counts = [Counter(row["class"] for row in effective(one["rows"])) for one in campaigns]
    both = list(zip(campaigns, counts, strict=True))
    told = {TRANSPARENT: published.TABLE_3["transparent"], LOST: published.TABLE_3["lost"]}
    runs = [Cell(str(of.total()), one["run"]) for one, of in both]
    crashed = Cell(f"{published.TABLE_3_RUNS}, all crashed", kind="published")
    table: list[list[Cell | str]] = [["runs with an effect", *runs, crashed]]
    for name, (words, _) in CLASSES.items():
        bad = "bad" if name in (GONE, WRONG) else ""
        cells = [Cell(share(of[name], of.total()), one["run"], bad if of[name] else "") for one, of in both]
        table.append([words, *cells, Cell(f"{told[name]:g}%", kind="published") if name in told else ""])
    series = []
    for at, (one, of) in enumerate(both):
        points = [(n, 100 * of[name] / of.total()) for n, name in enumerate(CLASSES)]
        ends = [wilson(of[name], of.total()) for name in CLASSES]
        around = [(100 * low, 100 * high) for low, high in ends]
        series.append(Series(one["name"], points, "ours", at, around))
    series.append(Series("published", [(n, told[name]) for n, name in enumerate(told)], "published"))
    picture = bars(
        "Faults",
        Axis("what became of them", words=tuple(short for _, short in CLASSES.values())),
        Axis("% of runs with an effect"),
        series,
    )
    note = (
        f"Of {sum(len(one['rows']) for one in campaigns)} runs {sum(map(Counter.total, counts))} had an "
        "effect; the others are ignored, as in the paper. In brackets Wilson's interval of 95 %. The paper's "
        "faults are in all components of a replica, of which only TCP has state; where a campaign's name "
        "says “replica”, ours are all in the process that has everything."
    )
    keys = [
        Key(
            f"fully transparent, of runs with an effect: {one['name']}",
            f"{published.TABLE_3['transparent']:g} % of {published.TABLE_3_RUNS}",
            f"{share(of[TRANSPARENT], of.total())} of {of.total()}",
        )
        for one, of in both
    ]
    head = ("", *(f"{one['name']} ({one['file']})" for one in campaigns), "published: stateless")
    return Shown((picture,), (Table(head, table),), (note,), keys)
