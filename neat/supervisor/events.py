"""What happened to the stack: a bounded log in a small segment, so that the supervisor's successor goes on
with it."""

import contextlib
import json
import os
import struct
import sys
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

MAX_EVENTS = 200
LOG_BYTES = 4 << 20
EVENTS_FILE = "events.log"  # a JSON object a line
EVENTS_BYTES = 1 << 20
_HEADER = struct.Struct("<QQ")  # where the JSON is, and its length in bytes


class EventLog:
    """The last events, oldest first; and which incarnation each component is at."""

    def __init__(self, fd: int, kept: Path | None = None) -> None:
        """`kept`: a directory for EVENTS_FILE, which stays when the stack is gone."""
        self.fd = fd
        self.kept = kept
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self.incarnations: dict[str, int] = {}
        self.before: dict[str, int] = {}  # what earlier stacks of this name had counted (caretaker.py)
        self.notes: dict[str, Any] = {}  # what parts of the supervisor leave to their successors; JSON
        self.place = self.end = _HEADER.size  # of what was saved last
        self._load()

    def _load(self) -> None:
        """What the predecessor saved last, whenever it was killed."""
        header = os.pread(self.fd, _HEADER.size, 0)
        place, length = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, 0)
        if place < _HEADER.size or not length or place + length > os.fstat(self.fd).st_size:
            return
        self.place, self.end = place, place + length
        try:
            saved = json.loads(os.pread(self.fd, length, place))
            events, incarnations = list(saved["events"]), dict(saved["incarnations"])
            before, notes = dict(saved["before"]), dict(saved.get("notes", {}))
        except (ValueError, KeyError, TypeError):
            return
        self.events.extend(events)
        self.incarnations.update(incarnations)
        self.before.update(before)
        self.notes.update(notes)

    def save(self) -> None:
        """Written beside what was saved last, which counts until the new one is whole."""
        saved = {
            "events": list(self.events),
            "incarnations": self.incarnations,
            "before": self.before,
            "notes": self.notes,
        }
        text = json.dumps(saved).encode()
        place = _HEADER.size if _HEADER.size + len(text) <= self.place else self.end
        os.pwrite(self.fd, text, place)
        os.pwrite(self.fd, _HEADER.pack(place, len(text)), 0)
        self.place, self.end = place, place + len(text)

    def begin(self) -> None:
        """A stack begins: what was counted and noted so far was another's."""
        self.before = dict(self.incarnations)
        self.notes.clear()
        self.save()

    def restarts(self, component: str, incarnation: int) -> int:
        """How often it was started again, in this stack."""
        return max(incarnation - 1 - self.before.get(component, 0), 0)

    def next_incarnation(self, component: str, at_least: int = 0) -> int:
        """1, 2, 3, ...; the caller saves."""
        number = max(self.incarnations.get(component, 0), at_least) + 1
        self.incarnations[component] = number
        return number

    def record(
        self, component: str, what: str, detail: str = "", ms: float | None = None, again_s: float = 0.0
    ) -> None:
        """Note it, and say it in the log. `ms`: how long it took, when it is something that took time;
        `again_s`: how long it stays away, when it does."""
        time = datetime.now().astimezone().isoformat(timespec="milliseconds")
        event: dict[str, Any] = {"time": time, "component": component, "what": what, "detail": detail}
        if ms is not None:
            event["ms"] = round(ms, 1)
        if again_s:
            event["again_s"] = round(again_s, 1)
        self.events.append(event)
        self.save()
        if self.kept is not None:
            with contextlib.suppress(OSError):
                append(self.kept / EVENTS_FILE, json.dumps(event))
        print(describe(event), file=sys.stderr, flush=True)


def append(path: Path, line: str) -> None:
    """One more line in a file; when that is large, it begins anew, and the one before has the suffix .1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")
        if file.tell() > EVENTS_BYTES:
            os.replace(path, path.with_name(path.name + ".1"))


def describe(event: dict[str, Any]) -> str:
    """One line for a person."""
    clock = event["time"][11:23]
    took = f" in {event['ms']:.0f} ms" if "ms" in event else ""
    detail = f": {event['detail']}" if event["detail"] else ""
    again = f", again in {event['again_s']} s" if "again_s" in event else ""
    return f"{clock} {event['component']} {event['what']}{took}{detail}{again}"


def trim_log() -> None:
    """Keep stack.log, which is our stderr, from growing for ever: what is over the limit moves to
    stack.log.1."""
    fd = sys.stderr.fileno()
    with contextlib.suppress(OSError):
        size = os.fstat(fd).st_size
        path = os.readlink(f"/proc/self/fd/{fd}")
        if size > LOG_BYTES and path.endswith(".log"):
            with open(path, "rb") as log, open(path + ".1", "wb") as old:
                log.seek(-(LOG_BYTES // 2), os.SEEK_END)
                old.write(log.read())
            os.ftruncate(fd, 0)
