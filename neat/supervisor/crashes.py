"""Crash reports: what a component died of, and the packet that killed it.

At a death `note` looks at what the process left, before a successor changes it: its last words on the board,
its state segment, the frame in its ring. `write` makes files of that when the successor is on its way. They
stay when the stack is gone, the last MOST_REPORTS of them (neat/supervisor/reports.py).
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from neat import parts, rundir
from neat.config import Config
from neat.shm import link
from neat.shm.board import BoardReader
from neat.shm.recorder import recorded
from neat.stack.postmortem import HEADER_BYTES, SLOT_BYTES, connection_of, suspect_of
from neat.supervisor import process, reports
from neat.supervisor.component import Component
from neat.supervisor.events import EventLog
from neat.supervisor.inventory import link_name, state_name
from neat.supervisor.quarantine import Quarantine

LOG_TAIL = 4096  # bytes of the log that go into a report
MOST_PENDING = 32
MOST_RECENT = 100


class Crashes:
    """What is noted and not written yet, on behalf of the keeper."""

    def __init__(
        self,
        config: Config,
        board: BoardReader,
        fds: Mapping[str, int],
        events: EventLog,
        quarantine: Quarantine,
    ) -> None:
        """`fds`: the stack's descriptors by name, as they are at each moment."""
        self.config = config
        self.board = board
        self.fds = fds
        self.events = events
        self.quarantine = quarantine
        self.directory = rundir.kept(config.name)
        self.pending: list[tuple[dict[str, Any], bytes, bytes, int]] = []

    def note(self, component: Component, status: int | None) -> None:
        """Its process has ended with this status, and nobody asked for that. `component` still says which one
        it was."""
        words = self.board.last_words(component.name)
        if words is not None and words.incarnation != component.incarnation:
            words = None
        outside = status == -signal.SIGKILL and not component.kill_reason
        if outside and component.home is None:
            return  # it was killed, and had nothing in its hands that could be of interest
        report: dict[str, Any] = {
            "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "component": component.name,
            "incarnation": component.incarnation,
            "pid": component.pid,
            "what": "hung" if component.kill_reason else "killed" if outside else "died",
            "reason": component.kill_reason or describe(status),
            "signal": name_of(words.signal) if words else None,
            "address": words.address if words and words.code > 0 else None,
            "backtrace": words.frames if words else [],
            "suspect": None,
            "recent": [],
        }
        frame, recorder = b"", b""
        if component.home is not None:
            ring_bytes = self.config.ring_bytes
            recorder = link.recorder_of(self.fds[link_name(component)], ring_bytes, ring_bytes)
            frame = self._note_suspect(report, component)
            if not outside and (component.kill_own or not component.kill_reason):
                self._judge(component, frame)
        if len(self.pending) < MOST_PENDING:
            self.pending.append((report, frame, recorder, time.monotonic_ns()))

    def _note_suspect(self, report: dict[str, Any], component: Component) -> bytes:
        """What a replica had in its hands; the record, if it was a frame that can be had."""
        fd = self.fds[state_name(component)]
        suspect = suspect_of(os.pread(fd, HEADER_BYTES, 0))
        if suspect is None:
            return b""
        where = suspect.pop("slot")
        suspect["connection"] = None
        if where is not None and where + SLOT_BYTES <= os.fstat(fd).st_size:
            suspect["connection"] = connection_of(os.pread(fd, SLOT_BYTES, where))
        report["suspect"] = suspect
        if suspect["kind"] != "frame":
            return b""
        ring_bytes = self.config.ring_bytes
        intake = self.config.datapath == "queues" and component.part not in (parts.TCP, parts.UDP)
        fd = self.fds[link_name(component)]
        found = link.record_at(fd, ring_bytes, ring_bytes, suspect["position"], intake=intake)
        if found is None or len(found[1]) != suspect["length"]:
            return b""
        return found[1]

    def _judge(self, component: Component, frame: bytes) -> None:
        """Whoever kills again and again is kept out."""
        verdict = self.quarantine.killed(frame, time.monotonic_ns()) if frame else ""
        if verdict:
            self.events.record(component.name, "quarantine", verdict)

    def write(self) -> None:
        """What was noted becomes files. A directory that cannot be written is said in the log, and that is
        all."""
        while self.pending:
            report, frame, recorder, died_at = self.pending.pop(0)
            report["recent"] = recent(recorder, died_at)
            report["log"] = tail_of_log()
            try:
                reports.add(self.directory, report, frame)
            except OSError as error:
                print(f"supervisor: no crash report in {self.directory}: {error.strerror}", file=sys.stderr)


def recent(recorder: bytes, died_at: int) -> list[str]:
    """What a flight recorder has, with the ms before the death."""
    found = recorded(recorder)[-MOST_RECENT:] if recorder else []
    return [f"-{max(0, died_at - at) / 1e6:.3f} ms {words}" for at, words in found]


def describe(status: int | None) -> str:
    return "status not known" if status is None else process.describe_exit(status)


def name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def tail_of_log() -> list[str]:
    """The last lines of the stack's log, which is our stderr; none where that is no file."""
    try:
        size = os.fstat(sys.stderr.fileno()).st_size
        path = f"/proc/self/fd/{sys.stderr.fileno()}"
        if not os.path.isfile(path):
            return []
        with open(path, "rb") as log:
            log.seek(max(0, size - LOG_TAIL))
            return log.read(LOG_TAIL).decode(errors="replace").splitlines()[-20:]
    except (OSError, ValueError):
        return []
