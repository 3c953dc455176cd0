"""No line is longer than 110 columns, in whatever language.

A URL may be, and a row of a table in Markdown. Some files still have longer ones: long_lines.txt says how
many each has, and none may get more, or join them. `python -m tests.gate.test_columns` writes that list anew,
after lines have been wrapped; it takes off and never adds.
"""

from pathlib import Path

import pytest

from tests.gate.sources import files
from tests.support import ROOT

COLUMNS = 110
SUFFIXES = (".c", ".h", ".py", ".pyx", ".pxd", ".md", ".toml")
ALLOWED = Path(__file__).with_name("long_lines.txt")


def is_long(line: str, suffix: str) -> bool:
    if len(line) <= COLUMNS or "://" in line:
        return False
    return not (suffix == ".md" and line.lstrip().startswith("|"))


def long_lines(path: Path) -> list[int]:
    """Their numbers, from 1."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if is_long(line, path.suffix)]


def allowed() -> dict[str, int]:
    """How many long lines a file may have, by its name."""
    rows = (line.split() for line in ALLOWED.read_text().splitlines() if not line.startswith("#"))
    return {name: int(count) for count, name in rows}


def test_no_line_is_longer() -> None:
    most = allowed()
    errors = []
    for path in files(*SUFFIXES):
        name = str(path.relative_to(ROOT))
        found = long_lines(path)
        if len(found) > most.get(name, 0):
            errors.append(f"{name}: {len(found)} lines over {COLUMNS} columns: {found[:20]}")
    assert not errors, "\n".join(errors)


def test_only_c_and_cython_are_on_the_list() -> None:
    assert [name for name in allowed() if name.endswith((".py", ".toml"))] == []


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


def shrink() -> None:
    """Write the list anew: it gets shorter, never longer."""
    comments = [line for line in ALLOWED.read_text().splitlines() if line.startswith("#")]
    most = allowed()
    now = {name: len(long_lines(ROOT / name)) for name in most if (ROOT / name).exists()}
    rows = [f"{min(count, most[name]):3} {name}" for name, count in sorted(now.items()) if count]
    ALLOWED.write_text("\n".join(comments + rows) + "\n")


if __name__ == "__main__":
    shrink()
