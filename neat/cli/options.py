"""Option types of several commands."""

import re
from typing import Any

import click


class Seconds(click.ParamType):
    """A time like 500ms, 1s, 1.5, 2m or 1h."""

    name = "TIME"
    UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}

    def __init__(self, most: float, *, zero: bool = False) -> None:
        """`zero`: 0 is a time, too."""
        self.most = most
        self.zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,7}(?:\.\d{1,6})?)(ms|s|m|h|)", str(value))
        seconds = float(found[1]) * self.UNITS[found[2]] if found else -1.0
        if not 0.0 <= seconds <= self.most or not (seconds or self.zero):
            self.fail(f"{value!r} is not a time up to {self.most:g} s, like 500ms, 1.5s or 2m", param, ctx)
        return seconds
