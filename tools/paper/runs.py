"""Commands that measure: each run within a time limit, and kept with what it said, so that any number can be
traced to it and a run that was interrupted goes on."""

import contextlib
import datetime
import hashlib
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench.cpu import machine as cpu_time
from neat.tools.stack import environment, neat_command

END_S = 15.0  # that a command has to take down what it has up
LAST_CHARACTERS = 400  # of what a command that failed said


class MeasureError(Exception):
    """There is no number; the text says why, in a line."""


class Kept(NamedTuple):
    """A command and its outcome. `steal`: the part of the machine's time that others had meanwhile;
    `busy`: that all on it used."""

    command: str
    began: str
    seconds: float
    steal: float
    busy: float
    machine: dict[str, Any]
    file: str
    result: Any


def this_machine() -> dict[str, Any]:
    """What a number depends on, beside the program."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        model = found[1] if found else platform.processor()
        return {"cpus": os.cpu_count() or 1, "model": model, "kernel": platform.release()}
    return {"cpus": os.cpu_count() or 1, "model": platform.processor(), "kernel": platform.release()}


class Runs:
    """All commands of one report. `folder`: where each outcome is a file. `resume`: what is there already, of
    the same command on the same machine, is not measured again. `ends`: when there is no time left
    (time.monotonic())."""

    def __init__(
        self,
        folder: Path,
        *,
        resume: bool,
        ends: float,
        progress: Callable[[str], None] = lambda text: None,
        start: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        self.resume = resume
        self.ends = ends
        self.progress = progress
        self.start = list(start) if start is not None else neat_command()
        self.machine = this_machine()
        self.kept: dict[str, Kept] = {}  # by command, of this process

    def ask(self, arguments: Sequence[str], most_s: float) -> Kept:
        """The outcome of `neat ARGUMENTS`, whose output is JSON; measured, if it is not there. A command is
        run once, however many figures ask. MeasureError."""
        command = shlex.join(["neat", *arguments])
        if command in self.kept:
            return self.kept[command]
        path = self.folder / name_of(arguments)
        found = self._read(path, command) if self.resume else None
        if found is None:
            found = self._run(list(arguments), command, path, most_s)
        self.kept[command] = found
        return found

    def has(self, arguments: Sequence[str]) -> bool:
        """Whether this process has its outcome already."""
        return shlex.join(["neat", *arguments]) in self.kept

    def _read(self, path: Path, command: str) -> Kept | None:
        try:
            kept = Kept(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return kept if (kept.command, kept.machine) == (command, self.machine) else None

    def _run(self, arguments: list[str], command: str, path: Path, most_s: float) -> Kept:
        if time.monotonic() + most_s > self.ends:
            raise MeasureError("no time was left")
        self.progress(command)
        began, before, now = datetime.datetime.now(datetime.UTC), cpu_time(), time.monotonic()
        text, errors, status = call([*self.start, *arguments], most_s)
        seconds, used = time.monotonic() - now, cpu_time().since(before)
        try:
            result = json.loads(text)
        except ValueError:
            raise MeasureError(why(command, errors or text, status)) from None
        kept = Kept(
            command,
            began.isoformat(timespec="seconds"),
            round(seconds, 1),
            used.steal,
            round(used.busy / (sum(used) or 1.0), 3),
            self.machine,
            path.name,
            result,
        )
        write(path, json.dumps(kept._asdict(), indent=1))
        return kept


def name_of(arguments: Sequence[str]) -> str:
    """A file name that says what it is, and is another one for another command."""
    words = re.sub(r"[^a-z0-9]+", "-", " ".join(arguments[:2]).lower()).strip("-")
    return f"{words}-{hashlib.sha256(shlex.join(arguments).encode()).hexdigest()[:8]}.json"


def write(path: Path, text: str) -> None:
    """All or nothing: a file that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def why(command: str, text: str, status: int | None) -> str:
    lines = text.strip()[-LAST_CHARACTERS:].splitlines()
    end = lines[-1].strip() if lines else ""
    how = "was not over in time" if status is None else f"ended with status {status}"
    return f"{command} {how}" + (f": {end}" if end else "")


def call(command: Sequence[str], most_s: float) -> tuple[str, str, int | None]:
    """(output, errors, status) of a command in a session of its own; after `most_s` it is told to end, and
    the status is None. However this ends, it has ended."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(most_s)
        finally:
            end(process)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    return texts[0], texts[1], status


def end(process: subprocess.Popen[bytes]) -> None:
    """Unless it has ended: tell it to, which takes its stack down; if it does not, kill its session."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
