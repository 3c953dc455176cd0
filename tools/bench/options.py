"""Option types of `neat bench`: sizes with units, and lists of numbers."""

import re
from typing import Any

import click

SIZE_UNITS = {"": 1, "K": 1000, "M": 1_000_000}
MOST = 1 << 30
# `--sizes`: the whole row of the experiment.
ROW = (20, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)


def size(text: str) -> int:
    """A number of bytes, like 20, 1K or 10M (powers of ten). ValueError."""
    found = re.fullmatch(r"(\d{1,10})([KM]?)B?", text.strip(), re.IGNORECASE)
    if found is None or not 0 <= (value := int(found[1]) * SIZE_UNITS[found[2].upper()]) <= MOST:
        raise ValueError(f"{text!r} is not a size, like 20, 1K or 10M")
    return value


class Sizes(click.ParamType):
    """Sizes with commas between them."""

    name = "SIZE[,SIZE…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return value if isinstance(value, tuple) else tuple(map(size, value.split(",")))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Numbers(click.ParamType):
    """Whole numbers in a range, with commas between them."""

    name = "N[,N…]"

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if not all(part.isdecimal() and self.least <= int(part) <= self.most for part in parts):
            self.fail(f"{value!r}: numbers of {self.least} to {self.most}, with commas", param, ctx)
        return tuple(map(int, parts))


class Names(click.ParamType):
    """Some of a few words, each once, with commas between them."""

    def __init__(self, *known: str) -> None:
        self.known = known
        self.name = ",".join(known)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else tuple(value)
        for name in names:
            if name not in self.known:
                self.fail(f"{name!r} is none of {', '.join(self.known)}", param, ctx)
        return names


def size_text(value: int) -> str:
    for unit in ("M", "K"):
        if value >= SIZE_UNITS[unit] and value % SIZE_UNITS[unit] == 0:
            return f"{value // SIZE_UNITS[unit]} {unit}B"
    return f"{value} B"
