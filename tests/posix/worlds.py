"""Where a scenario runs: on kernel sockets, and under the preload library on a running stack. In both, the
subject is 10.77.0.2 and the peer 10.77.0.1."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import ROOT, Stack

HERE = Path(__file__).parent
SCENARIOS = HERE / "scenarios"
LIBRARY = ROOT / "neat/shim/libneat.so"
PATIENCE_S = 60
# Scenarios make calls that no compiler approves of.
MEANT = ("-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-nonnull", "-Wno-unused-result")
HOLD = "ip link set lo up; echo ready; exec cat"
PRELOADED = 'ip link set lo up; export LD_PRELOAD="$SCENARIO_PRELOAD"; exec "$@"'


class World:
    """`run` prefixes a program so that it is the subject; `env` is what it needs."""

    def __init__(self, name: str, prefix: list[str], env: dict[str, str]) -> None:
        self.name, self.prefix, self.env = name, prefix, env

    def popen(self, *program: str | Path, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, *map(str, program)],
            env=os.environ | self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            **options,
        )

    def transcript(self, *program: str | Path, patience: float = PATIENCE_S) -> list[str]:
        """What a program prints, and how it ended. What its children say comes after what it says itself:
        between them there is no order."""
        process = self.popen(*program)
        try:
            output, _ = process.communicate(timeout=patience)
            end = f"[exit {process.returncode}]"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            end = "[hangs]"
        return [*sorted(output.splitlines(), key=lambda line: line.startswith("| ")), end]


class Preloaded(World):
    """Each program is an application of its own."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__("neat", ["unshare", "-n", "sh", "-c", PRELOADED, "scenario"], env)

    def popen(self, *program: str | Path, **options: Any) -> subprocess.Popen[str]:
        self.env["NEAT_APP"] = f"{secrets.randbits(64) | 1:016x}"
        return super().popen(*program, **options)


def families() -> dict[str, list[str]]:
    """The scenarios of each file, in its order."""
    return {
        file.stem: re.findall(r"^SCENARIO\((\w+)\)", file.read_text(), re.MULTILINE)
        for file in sorted(SCENARIOS.glob("*.c"))
        if file.stem != "scenario"
    }


def build(where: Path, *flags: str, only: tuple[str, ...] = ()) -> Path:
    """Every family, or only some, as a program in `where`."""
    common = where / "scenario.o"
    gcc = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", *MEANT, "-pthread", *flags]
    subprocess.run([*gcc, "-c", "-o", common, SCENARIOS / "scenario.c"], check=True)
    for family in only or families():
        subprocess.run([*gcc, "-o", where / family, SCENARIOS / f"{family}.c", common], check=True)
    return where


@contextlib.contextmanager
def serving(*prefix: str, env: dict[str, str] | None = None) -> Iterator[dict[str, str]]:
    """peer.py, started with that prefix; what a subject needs to find it."""
    with tempfile.TemporaryDirectory(prefix="neat-peer-") as base:
        path = Path(base) / "peer"
        command = [*prefix, sys.executable, str(HERE / "peer.py"), str(path)]
        with piped(command, env) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n", command
            yield {"SCENARIO_PEER": str(path)}


@contextlib.contextmanager
def piped(command: list[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that ends when its standard input does."""
    process = subprocess.Popen(
        command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.stdout.close()


@contextlib.contextmanager
def holder() -> Iterator[list[str]]:
    """A network namespace; what to put before a program that shall be in it."""
    with piped(["unshare", "-n", "sh", "-c", HOLD]) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield ["nsenter", f"--net=/proc/{process.pid}/ns/net"]


@contextlib.contextmanager
def kernel() -> Iterator[World]:
    """Two namespaces and a veth pair between them."""
    with holder() as subject, holder() as other:
        peer_pid = other[1].split("/")[2]
        for prefix, *words in (
            (subject, f"ip link add wire type veth peer name wire netns {peer_pid}"),
            (subject, "ip address add 10.77.0.2/24 dev wire"),
            (subject, "ip link set wire up"),
            (other, "ip address add 10.77.0.1/24 dev wire"),
            (other, "ip link set wire up"),
        ):
            subprocess.run([*prefix, *words[0].split()], check=True)
        with serving(*other) as env:
            yield World("kernel", subject, env)


@contextlib.contextmanager
def neat(stack: Stack) -> Iterator[World]:
    """A namespace with nothing but loopback, and what `neat run` gives to a program."""
    printed = stack.neat("run", "--", "env", "-0").stdout
    given = dict(line.split("=", 1) for line in printed.split("\0") if line)
    env = {name: value for name, value in given.items() if name.startswith("NEAT_")}
    env["SCENARIO_PRELOAD"] = given["LD_PRELOAD"]
    with serving(*stack.peer_command(), env=stack.env) as peer:
        yield Preloaded(env | peer)
