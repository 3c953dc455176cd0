"""The table of a campaign for people (NEaT, Table 3)."""

from typing import Any

from rich.console import Console
from rich.table import Table

from neat.tools.drill.inject.run import FAILED, IGNORED, OUTCOMES

WORDS = dict(
    zip(
        OUTCOMES,
        (
            "fully transparent",
            "connections lost, only the victim's",
            "connections lost, others' too",
            "service lost",
            "wrong bytes",
        ),
        strict=True,
    )
)


def show(console: Console, result: dict[str, Any]) -> None:
    table = result["table"]
    console.print(overall(table))
    for what in ("components", "kinds"):
        if len(table[what]) > 1:
            console.print(by(what, table[what]))
    gone = table["all"]["classes"]["gone"]["runs"]
    if gone:
        back = table["all"]["came_back"]
        console.print(f"of {gone} runs that lost the service {back} got it back without help")
    for row in result["bad"]:
        console.print(f"run {row['number']}, {row['kind']} in {row['victim']}: {row['class']} {row['why']}")


def percent(part: dict[str, Any]) -> str:
    if part["share"] is None:
        return "–"
    return f"{part['share']:.1%} ({part['low']:.1%} to {part['high']:.1%})"


def overall(table: dict[str, Any]) -> Table:
    every, crashed = table["all"], table["crashed"]
    effects = f"{every['effective']} of {every['runs']} runs had an effect"
    title = f"{effects}, {crashed['effective']} of them a crash"
    shown = Table(title=title, title_justify="left", header_style="bold")
    for name in ("", "runs", "share, 95 % interval", "with a crash", "share, 95 % interval"):
        shown.add_column(name, justify="right" if name else "left")
    for name, word in WORDS.items():
        cells = []
        for part in (every["classes"][name], crashed["classes"][name]):
            cells += [str(part["runs"]), percent(part)]
        shown.add_row(word, *cells)
    for name in (IGNORED, FAILED):
        shown.add_row(name, str(every[name]), "", "", "")
    return shown


def by(what: str, of: dict[str, Any]) -> Table:
    table = Table(title=f"by {what[:-1]}", title_justify="left", header_style="bold")
    table.add_column("")
    for name in ("effective", *OUTCOMES):
        table.add_column(name, justify="right")
    for name, part in of.items():
        counts = [str(part["classes"][outcome]["runs"]) for outcome in OUTCOMES]
        table.add_row(name, f"{part['effective']} of {part['runs']}", *counts)
    return table
