"""What a figure of the report is: what it measures, and how that is shown."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.paper.runs import Kept, MeasureError, Runs

Data = dict[str, Any]


class Cell(NamedTuple):
    """A number, and which of the figure's commands it is from (counted from 1; 0: from none)."""

    text: str
    run: int = 0
    kind: str = ""  # "published", "model", "bad"


class Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    title: str = ""


class Key(NamedTuple):
    """A line of the summary: what is compared, as the paper has it and as it is here."""

    what: str
    published: str
    here: str


class Shown(NamedTuple):
    """Pictures are SVG; notes are sentences, and say what is to be seen."""

    pictures: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    keys: Sequence[Key] = ()


class Ask:
    """How a figure measures. Its commands and what could not be measured are kept for the report."""

    def __init__(self, runs: Runs, quick: bool, results: Sequence[Path] = ()) -> None:
        self.runs = runs
        self.results = results  # files of fault injection, from elsewhere
        self.quick = quick
        self.used: list[Kept] = []
        self.missing: list[str] = []

    def __call__(self, what: str, arguments: Sequence[str], most_s: float) -> tuple[int, Any]:
        """(number of the command, what it printed); None instead of that where there is nothing, and then
        the report says why, about `what`. most_s: seconds after which it is stopped."""
        try:
            kept = self.runs.ask(arguments, most_s)
        except MeasureError as error:
            self.missing.append(f"{what}: {error}")
            return 0, None
        if kept not in self.used:
            self.used.append(kept)
        return self.used.index(kept) + 1, kept.result

    def lacks(self, why: str) -> None:
        self.missing.append(why)


class Figure(NamedTuple):
    name: str  # for --only, and its file
    title: str
    source: str  # where in which paper
    says: str  # what is to be seen there
    measure: Callable[[Ask], Data]
    show: Callable[[Data], Shown]
    programs: Sequence[str] = ()  # without which it cannot be


def http_s(points: int, sides: int, rounds: int, seconds: int, stacks: int = 1) -> float:
    """Seconds that `neat bench http` may take at most: some times what it takes on a machine of its own."""
    usual = points * sides * (1.3 + rounds * (seconds + 0.2)) + 4.0 * stacks
    return 2.5 * usual + 30.0


def krps(value: float) -> str:
    return f"{value / 1e3:,.1f}"
