"""The POSIX matrix of neat/shim/README.md, as data."""

import re
from typing import NamedTuple

from tests.support import ROOT

README = ROOT / "neat/shim/README.md"


class Option(NamedTuple):
    """A cell: `works`, `kept`, `differs`, `refused`, `–`; and the errno of a refused one."""

    name: str
    kind: str
    status: str
    errno: str
    note: str


def tables() -> dict[str, list[list[str]]]:
    """The rows of the table under each heading, without its head."""
    found: dict[str, list[list[str]]] = {}
    for section in re.split(r"^## ", README.read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        found[title] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return found


def calls() -> list[str]:
    """Every name in the table of calls."""
    return [name for row in tables()["POSIX matrix: calls"] for name in re.findall(r"`(\w+)`", row[0])]


def options() -> list[Option]:
    """One for each option and kind of socket."""
    out = []
    for names, stream, datagram, note in tables()["POSIX matrix: options"]:
        for name in names.split(", "):
            suffix = "6" if name.startswith("IPV6") else ""
            for kind, cell in (("TCP", stream), ("UDP", datagram)):
                status, _, error = cell.partition(" ")
                out.append(Option(name, kind + suffix, status, error.strip("()"), note))
    return out


def differences() -> dict[str, set[str]]:
    """Row of "Where it differs": its scenarios."""
    return {row[0]: set(row[2].split(", ")) for row in tables()["Where it differs"]}


def names_used() -> set[str]:
    """The rows that the table of calls points to."""
    text = " ".join(row[1] for row in tables()["POSIX matrix: calls"])
    return {name for group in re.findall(r"\[([\w, ]+)\]", text) for name in group.split(", ")}
