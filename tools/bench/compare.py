"""Two sides in turns, A B B A A B …, so that what else the machine does hits both; medians of the rounds."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Round = dict[str, Any]


def interleaved(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """(round, side), each round in the opposite order of the one before it."""
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name


def run_rounds(
    sides: Mapping[str, Callable[[], Round]], rounds: int, progress: Callable[[str], None]
) -> dict[str, list[Round]]:
    """`rounds` results of each side. What a side raises ends the comparison."""
    results: dict[str, list[Round]] = {name: [] for name in sides}
    for number, name in interleaved(list(sides), rounds):
        progress(f"round {number + 1} of {rounds}: {name}")
        results[name].append(sides[name]())
    return results


def medians(rounds: Sequence[Round]) -> Round:
    """The median of each number, in dictionaries of numbers too. Errors are added up, not forgiven."""
    merged: Round = {}
    for key, first in rounds[0].items():
        values = [entry[key] for entry in rounds]
        if isinstance(first, dict):
            merged[key] = medians(values)
        elif key == "errors":
            merged[key] = sum(values)
        else:
            merged[key] = statistics.median(values)
    return merged


def spread(results: Mapping[str, Sequence[Round]], key: str) -> dict[str, list[float | None]]:
    """Smallest and largest of each side's rounds, and of the ratios of rounds that were neighbours."""
    values: dict[str, list[float]] = {
        name: [entry[key] for entry in rounds] for name, rounds in results.items()
    }
    found: dict[str, list[float | None]] = {name: [min(row), max(row)] for name, row in values.items()}
    ratios = [ratio(*pair) for pair in zip(values["neat"], values["linux"], strict=True)]
    known = [value for value in ratios if value is not None]
    return found | {"ratio": [min(known, default=None), max(known, default=None)]}


def versus(results: Mapping[str, Sequence[Round]], side: str, rate: str, per_cpu_s: str) -> dict[str, Any]:
    """The rounds of a side beside those of "linux": "neat", "linux": their medians; "ratio", "cpu_ratio": of
    `rate` and `per_cpu_s` among them; "spread" of the rates; "rounds"."""
    rounds = {"neat": results[side], "linux": results["linux"]}
    ours, theirs = medians(rounds["neat"]), medians(rounds["linux"])
    return {
        "neat": ours,
        "linux": theirs,
        "ratio": ratio(ours[rate], theirs[rate]),
        "cpu_ratio": ratio(ours[per_cpu_s], theirs[per_cpu_s]),
        "spread": spread(rounds, rate),
        "rounds": rounds,
    }


def ratio(ours: float, theirs: float) -> float | None:
    return round(ours / theirs, 3) if theirs else None
