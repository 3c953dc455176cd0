"""Stacks for tests: brought up in a namespace and a run directory of their own, and gone afterwards
whatever happened."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from neat import rundir
from neat.cli.client import request
from neat.config import Config

Once = Callable[[str, Callable[[Path], object]], Path]  # the fixture of that name
ROOT = Path(__file__).resolve().parent.parent
# Of the stacks of all tests that do not say theirs.
DATAPATH = os.environ.get("NEAT_TEST_DATAPATH", Config().datapath)
COMPONENTS = os.environ.get("NEAT_TEST_COMPONENTS", "single")


def whole(why: str) -> pytest.MarkDecorator:
    """Of a test that is about replicas of one process."""
    return pytest.mark.skipif(COMPONENTS != "single", reason=why)


# For what is about frames or crashes.
each_datapath = pytest.mark.parametrize("datapath", ["queues", "driver"], indirect=True)


class Stack:
    """A stack by its name; `env` is what every program that talks to it needs ($NEAT_RUN_DIR,
    $PYTHONPATH)."""

    def __init__(self, name: str, run_dir: Path, env: dict[str, str]) -> None:
        self.name = name
        self.run_dir = run_dir
        self.env = env

    def neat(
        self, *arguments: str, check: bool = True, timeout: float = 30, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """`neat COMMAND --name NAME …`, output captured as text."""
        command = [sys.executable, "-m", "neat", arguments[0], "--name", self.name, *arguments[1:]]
        done = subprocess.run(
            command,
            env=self.env,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command[2:])}: status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def ask(self, **message: Any) -> dict[str, Any]:
        """The supervisor's answer, without a process for the command."""
        return request(self.name, message, directory=self.run_dir)

    def status(self) -> dict[str, Any]:
        """What `neat status -j` prints."""
        return self.ask(op="status")["status"]

    def sockets(self) -> list[dict[str, Any]]:
        """The rows of `neat ss -a -j`, in no order."""
        reply = self.ask(op="ss")
        assert not reply["missing"], reply["missing"]
        return reply["rows"]

    def component(self, name: str) -> dict[str, Any]:
        return next(c for c in self.status()["components"] if c["name"] == name)

    def pids(self) -> dict[str, int]:
        return {c["name"]: c["pid"] for c in self.status()["components"]}

    @property
    def guardian(self) -> int | None:
        return rundir.guardian(self.run_dir)

    def peer_command(self, *program: str) -> list[str]:
        """The argument list that runs a program at the other end of the wire, as `neat peer` does."""
        return ["nsenter", f"--net=/proc/{self.guardian}/ns/net", *program]

    def peer(
        self, *program: str, check: bool = True, timeout: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program at the other end of the wire to its end, output captured as text."""
        done = subprocess.run(
            self.peer_command(*program),
            env=self.env,
            cwd=ROOT,
            timeout=timeout,
            check=False,
            **({"capture_output": True, "text": True} | options),
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(program)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen_peer(self, *program: str, **options: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(self.peer_command(*program), env=self.env, cwd=ROOT, **options)

    def wait_running(self, seconds: float = 20) -> dict[str, Any]:
        """Until every component is running; the status then."""
        return wait_for(
            lambda: (s := self.status_or_none()) is not None and s["ready"] and s,
            seconds,
            "all components running",
        )

    def status_or_none(self) -> dict[str, Any] | None:
        """None while the supervisor is being replaced."""
        try:
            return self.status()
        except click.ClickException:
            return None

    def log(self) -> str:
        try:
            return (self.run_dir / rundir.LOG).read_text(errors="replace")
        except FileNotFoundError:
            return ""


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll, ever more gently, until the condition holds; its value."""
    deadline, pause = time.monotonic() + seconds, 0.01
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)


@contextlib.contextmanager
def running_stack(
    *arguments: str, env: dict[str, str] | None = None, detach: bool = True, **settings: Any
) -> Iterator[Stack]:
    """`neat up --detach` with these settings (names as in neat/config.py), and the end of it, even if the
    test failed.

    `with running_stack(replicas=2, mtu=9000) as stack: stack.peer("curl", ...)`
    """
    settings.setdefault("datapath", DATAPATH)
    settings.setdefault("components", COMPONENTS)
    name = f"t-{uuid.uuid4().hex[:10]}"
    base = Path(tempfile.mkdtemp(prefix="neat-"))
    run_dir = base / "run"
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)
    inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    stack = Stack(name, run_dir, inherited | {"NEAT_RUN_DIR": str(run_dir), "PYTHONPATH": path} | (env or {}))
    options = [
        f"--set={key}={value!r}" if isinstance(value, str) else f"--set={key}={json.dumps(value)}"
        for key, value in settings.items()
    ]
    guardian = None
    try:
        stack.neat("up", "--detach", "--owner", str(os.getpid()), *options, *arguments)
        guardian = stack.guardian
        yield stack
    finally:
        end_stack(stack, guardian)
        shutil.rmtree(base, ignore_errors=True)


class LentStack:
    """One stack for one test after another, for as long as each of them leaves it as it was."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.stack: Stack | None = None
        self.ends = contextlib.ExitStack()
        self.components: dict[str, int] = {}

    def lend(self) -> Stack:
        if self.stack is None or not self.is_as_it_was(self.stack):
            self.end()
            self.stack = self.ends.enter_context(running_stack(**self.settings))
            self.components = self.stack.pids()
        return self.stack

    def end(self) -> None:
        self.stack = None
        self.ends.close()

    def is_as_it_was(self, stack: Stack) -> bool:
        """The same components, and nothing left of the programs that it had, as soon as it knows."""

        def is_idle() -> bool:
            if stack.pids() != self.components:
                raise LookupError
            used = [row for row in stack.sockets() if row["state"] != "TIME-WAIT"]
            return not used and not stack.status()["applications"]

        try:
            return wait_for(is_idle, 10, "an idle stack")
        except (LookupError, AssertionError, click.ClickException):
            return False


def end_stack(stack: Stack, guardian: int | None) -> None:
    """`neat down`; SIGKILL for the guardian when that did not do it, as everything ends with it."""
    if stack.guardian is not None:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            stack.neat("down", "--force")
    if guardian is not None and stack.guardian == guardian:
        os.kill(guardian, signal.SIGKILL)
