"""No line is longer than 110 columns, in whatever language; a URL may be, and a row of a Markdown table."""

from pathlib import Path

import pytest

from tests.gate.sources import files
from tests.support import ROOT

COLUMNS = 110
SUFFIXES = (".c", ".h", ".py", ".pyx", ".pxd", ".md", ".toml")


def is_long(line: str, suffix: str) -> bool:
    if len(line) <= COLUMNS or "://" in line:
        return False
    return not (suffix == ".md" and line.lstrip().startswith("|"))


def long_lines(path: Path) -> list[int]:
    """Their numbers, from 1."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if is_long(line, path.suffix)]


def test_no_line_is_longer() -> None:
    found = {str(path.relative_to(ROOT)): long_lines(path) for path in files(*SUFFIXES)}
    assert not {name: numbers for name, numbers in found.items() if numbers}


@pytest.mark.parametrize(
    ("line", "suffix", "long"),
    [
        ("x" * 110, ".c", False),
        ("x" * 111, ".c", True),
        ("é" * 110, ".md", False),
        ("| " + "x" * 111, ".md", False),
        ("| " + "x" * 111, ".h", True),
        ("https://example.org/" + "x" * 111, ".md", False),
    ],
)
def test_what_is_long(line: str, suffix: str, long: bool) -> None:
    assert is_long(line, suffix) is long
