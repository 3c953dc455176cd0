"""What a load has seen: every answer, every longer silence, every connection. Times are CLOCK_MONOTONIC's.

A file of them is one line of JSON, then the arrays one after the other.
"""

from __future__ import annotations  # array is no generic before Python 3.12

import json
from array import array
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SILENCE_S = 0.001  # shorter ones are not kept


@dataclass
class Connection:
    """One connection of the load; `place`: which of its places it had, one after another."""

    number: int
    place: int
    kind: str  # "requests", "download", "upload"
    port: int = 0
    opened: float = 0.0  # 0.0: it never was
    ended: float = 0.0
    outcome: str = ""  # "": it goes on; "closed": as it should; else "lost", "hung", "wrong" or "refused"
    detail: str = ""
    owed: int = 0  # answers that never came


@dataclass
class Records:
    connections: list[Connection] = field(default_factory=list)
    began: float = 0.0  # every connection had had an answer, and the beat began
    sizes: dict[str, int] = field(default_factory=dict)  # kind → bytes of an answer and its request
    # Of each answer: when its request was planned to be sent, seconds from then, the connection's number.
    planned: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("f"))
    who: array[int] = field(default_factory=lambda: array("I"))
    # Of each silence while something was asked for: from, seconds, the connection's number.
    silent_from: array[float] = field(default_factory=lambda: array("d"))
    silent_for: array[float] = field(default_factory=lambda: array("f"))
    silent_who: array[int] = field(default_factory=lambda: array("I"))
    # Requests that could not be sent, as their place had no connection: when.
    unsent: array[float] = field(default_factory=lambda: array("d"))
    lag: array[float] = field(
        default_factory=lambda: array("f")
    )  # how late the load itself was, by its turns

    ARRAYS = ("planned", "latency", "who", "silent_from", "silent_for", "silent_who", "unsent", "lag")

    def answered(self, planned: float, now: float, number: int) -> None:
        self.planned.append(planned)
        self.latency.append(now - planned)
        self.who.append(number)

    def silent(self, since: float, now: float, number: int) -> None:
        if now - since >= SILENCE_S:
            self.silent_from.append(since)
            self.silent_for.append(now - since)
            self.silent_who.append(number)

    def write(self, path: Path) -> None:
        head = {
            "connections": [asdict(connection) for connection in self.connections],
            "began": self.began,
            "sizes": self.sizes,
            "lengths": {name: len(getattr(self, name)) for name in self.ARRAYS},
        }
        with path.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            for name in self.ARRAYS:
                getattr(self, name).tofile(file)


def read(path: Path) -> Records:
    records = Records()
    with path.open("rb") as file:
        head: dict[str, Any] = json.loads(file.readline())
        records.connections = [Connection(**row) for row in head["connections"]]
        records.began, records.sizes = head["began"], head["sizes"]
        for name, length in head["lengths"].items():
            getattr(records, name).fromfile(file, length)
    return records
