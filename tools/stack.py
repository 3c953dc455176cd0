"""A stack of its own for a tool: brought up with `neat up`, asked over its control socket, taken down."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import neat
from neat import rundir
from neat.cli.client import guardian_of, request
from neat.cli.manage import end_guardian
from neat.config import Config

ROOT = Path(neat.__file__).resolve().parent.parent
UP_S = 30.0
POLL_S = 0.01


class StackError(Exception):
    """The stack does not do what the tool needs; the text says what."""


class Stack:
    """A running stack that is ours."""

    def __init__(self, name: str, config: Config, guardian: int) -> None:
        self.name = name
        self.config = config
        self.guardian = guardian
        self.run_dir = rundir.path(name)
        # Another stack that is up meanwhile may have another run directory.
        here = os.environ.get("NEAT_RUN_DIR")
        self.place = {} if here is None else {"NEAT_RUN_DIR": here}
        self.address = str(config.interface.ip)

    @classmethod
    @contextlib.contextmanager
    def up(
        cls, name: str, replicas: int, settings: Mapping[str, Any] | None = None, *, private: bool = True
    ) -> Iterator["Stack"]:
        """`neat up --detach`; StackError when it does not come up. `private`: in its own run directory."""
        with private_directory() if private else contextlib.nullcontext():
            options = [f"--set={key}={value}" for key, value in (settings or {}).items()]
            own = ("--detach", "--owner", str(os.getpid()))  # however we end, it ends too
            command = neat_command("up", "--name", name, "--replicas", str(replicas), *own, *options)
            try:
                done = subprocess.run(
                    command, env=environment(), capture_output=True, text=True, check=False, timeout=UP_S
                )
                guardian = rundir.guardian(rundir.path(name))
                if done.returncode != 0 or guardian is None:
                    raise StackError(f"neat up: {(done.stderr or done.stdout).strip()}")
                yield cls(name, Config(name=name, replicas=replicas), guardian)
            finally:
                remains = rundir.guardian(rundir.path(name))
                if remains is not None:
                    end_guardian(remains)

    @classmethod
    def that_runs(cls, name: str) -> "Stack":
        """The one that is up under that name, and stays so; StackError."""
        try:
            guardian = guardian_of(name)
            status = request(name, {"op": "status"})["status"]
        except click.ClickException as error:
            raise StackError(error.message) from None
        keys = ("address", "gateway", "netns")
        config = Config(name=name, replicas=len(status["replicas"]), **{key: status[key] for key in keys})
        return cls(name, config, guardian)

    def environment(self) -> dict[str, str]:
        """What a program on the stack, or a `neat` command for it, needs to find it."""
        return environment() | {"NEAT_STACK": self.name} | self.place

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        try:
            with variables(self.place):
                return request(self.name, {"op": op, **arguments})
        except click.ClickException as error:
            raise StackError(error.message) from None

    def status(self) -> dict[str, Any]:
        return self.ask("status")["status"]

    def component(self, name: str) -> dict[str, Any]:
        return next(part for part in self.status()["components"] if part["name"] == name)

    def pids(self) -> dict[str, int]:
        return {part["name"]: part["pid"] for part in self.status()["components"] if part["pid"]}

    def sockets(self) -> list[dict[str, Any]]:
        """The rows of `neat ss`; StackError when a replica did not answer."""
        reply = self.ask("ss")
        if reply["missing"]:
            raise StackError(f"no answer to ss from {', '.join(reply['missing'])}")
        return reply["rows"]

    def kill(self, component: str, signal_name: str = "SIGKILL") -> None:
        self.ask("kill", component=component, signal=signal_name)

    def wait(self, condition: Callable[["Stack"], Any], seconds: float, what: str) -> Any:
        """Poll until `condition` is true, with patience while the supervisor is being replaced; its value."""
        deadline = time.monotonic() + seconds
        reason = ""
        while time.monotonic() < deadline:
            try:
                if value := condition(self):
                    return value
            except StackError as error:
                reason = f" ({error})"
            time.sleep(POLL_S)
        raise StackError(f"not within {seconds:g} s: {what}{reason}")

    def wait_replaced(self, component: str, old_pid: int, seconds: float = 5.0) -> None:
        """Until another process runs as `component`."""

        def replaced(stack: Stack) -> bool:
            part = stack.component(component)
            return part["state"] == "running" and part["pid"] != old_pid

        self.wait(replaced, seconds, f"a successor of {component}")

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` at the other end of the wire."""
        return ["nsenter", f"--net=/proc/{self.guardian}/ns/net", "--", *command]

    def run(self, command: Sequence[str]) -> list[str]:
        """The command line that runs an unmodified program on the stack; needs `environment`."""
        return neat_command("run", "--name", self.name, "--", *command)

    def peer(self, command: Sequence[str]) -> list[str]:
        """The same as a user types it; needs `environment`."""
        return neat_command("peer", "--name", self.name, "--", *command)


def neat_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "neat", *arguments]


def environment() -> dict[str, str]:
    """This process's environment, with the package on the path wherever it is started from."""
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys([str(ROOT), *path]))}


def end_tidily() -> None:
    """Let SIGTERM and SIGHUP end this program as an exception does, so that what it has up is taken down."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set them in this process's environment meanwhile."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextlib.contextmanager
def private_directory() -> Iterator[None]:
    """Let everything that this process asks or starts meanwhile use a run directory of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="neat-") as base,
        variables({"NEAT_RUN_DIR": str(Path(base) / "run")}),
    ):
        yield
