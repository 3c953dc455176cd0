"""Real programs, unmodified, under `neat run`; their other side is the kernel's end of the wire.

    def test_lighttpd(stack, serve, content):
        with serve("lighttpd", "-D", "-f", config, port=80) as server:
            assert fetch(stack, server.url("/a.txt")) == content["/a.txt"]

A program that is not installed skips its test. `serve` waits until a peer gets a connection, looks in
`neat ss` whether it is the stack that listens, and ends the program by its pid; what it said is in
`server.output()`, and in the failure of the test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs.sites import lighttpd_config, nginx_config  # noqa: F401 - fixtures
from tests.support import LentStack, Stack, wait_for

ADDRESS = "10.77.0.2"  # of the stack
PEER = "10.77.0.1"  # the kernel's end of the wire
START_S = 20
END_S = 10
SBIN = "/usr/sbin:/sbin"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"


@pytest.fixture(scope="session")
def lent_stack() -> Iterator[LentStack]:
    lent = LentStack()
    yield lent
    lent.end()


@pytest.fixture
def stack(lent_stack: LentStack) -> Stack:
    """A stack that is as if it had just come up; the test may kill what it likes."""
    return lent_stack.lend()


def program(name: str) -> str:
    """The path of an installed program; skips the test when it is not there."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if path is None:
        pytest.skip(f"{name} is not installed (scripts/test does that, as root)")
    return path


def neat_run(stack: Stack, *command: str, options: tuple[str, ...] = ()) -> list[str]:
    """The argument list that runs a command on the stack; needs `stack.env`."""
    path = program(command[0])
    return [
        sys.executable,
        "-P",
        "-m",
        "neat",
        "run",
        "--name",
        stack.name,
        *options,
        "--",
        path,
        *command[1:],
    ]


def run(
    stack: Stack,
    *command: str,
    options: tuple[str, ...] = (),
    check: bool = True,
    timeout: float = 60,
    **others: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command on the stack to its end, output captured as text."""
    done = subprocess.run(
        neat_run(stack, *command, options=options),
        env=stack.env,
        timeout=timeout,
        check=False,
        **({"capture_output": True, "text": True} | others),
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def fetch(stack: Stack, url: str, *options: str) -> bytes:
    """What curl at the other end of the wire gets."""
    return stack.peer("curl", "-sS", "-f", "-m", "30", *options, url, text=False).stdout


def sockets(stack: Stack, port: int) -> list[dict[str, Any]]:
    """The rows of `neat ss -a` for a local port."""
    rows = stack.sockets()
    return [row for row in rows if row["local"].endswith(f":{port}")]


class Server:
    """A program that runs on the stack."""

    def __init__(self, stack: Stack, process: subprocess.Popen[bytes], said: Path, port: int) -> None:
        self.stack = stack
        self.process = process
        self.said = said
        self.port = port

    @property
    def pid(self) -> int:
        """Of the program: `neat run` becomes it."""
        return self.process.pid

    def url(self, path: str = "/") -> str:
        return f"http://{ADDRESS}:{self.port}{path}"

    def output(self) -> str:
        return self.said.read_text(errors="replace")

    def accepts(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with status {self.process.returncode}:\n{self.output()}")
        done = self.stack.peer(
            sys.executable, "-S", "-c", CONNECT, ADDRESS, str(self.port), check=False, timeout=20
        )
        return done.returncode == 0

    def listens(self) -> bool:
        """In every replica."""
        rows = [row for row in sockets(self.stack, self.port) if row["state"] == "LISTEN"]
        replicas = {row["name"] for row in self.stack.status()["replicas"]}
        return {f"replica{row['replica']}" for row in rows} == replicas

    def wait_ready(self) -> None:
        wait_for(self.accepts, START_S, f"a connection to port {self.port}; it said:\n{self.output()}")
        assert self.listens(), f"port {self.port} is not the stack's: {sockets(self.stack, self.port)}"

    def wait_idle(self) -> None:
        """Until it has closed its connections: a client's FIN takes its time."""
        over = {"LISTEN", "TIME-WAIT"}
        wait_for(lambda: all(row["state"] in over for row in sockets(self.stack, self.port)), END_S, "idle")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit status, as subprocess gives it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(END_S)

    def kill(self) -> None:
        """The program and all that it started, which are a process group of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(END_S)


Serve = Callable[..., contextlib.AbstractContextManager[Server]]


@pytest.fixture
def serve(stack: Stack, tmp_path: Path) -> Serve:
    """`serve(PROGRAM, ARGS..., port=N)`: a running Server, ended when the block is left. `ready=False`: do
    not wait until it accepts. Other keywords are subprocess.Popen's."""
    count = 0

    @contextlib.contextmanager
    def start(
        *command: str, port: int, options: tuple[str, ...] = (), ready: bool = True, **others: Any
    ) -> Iterator[Server]:
        nonlocal count
        count += 1
        said = tmp_path / f"server{count}.out"
        argv = neat_run(stack, *command, options=options)
        others = {"env": stack.env} | others
        with open(said, "wb") as out:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **others
            )
        server = Server(stack, process, said, port)
        try:
            if ready:
                server.wait_ready()
            yield server
            server.end()
        except BaseException:
            print(f"{command[0]} said:\n{server.output()}")
            raise
        finally:
            server.kill()

    return start


@pytest.fixture
def www(content: dict[str, bytes]) -> Iterator[Path]:
    """A directory with `content`, which any user may read."""
    base = Path(tempfile.mkdtemp(prefix="neat-www-"))
    base.chmod(0o755)
    for path, data in content.items():
        (base / path[1:]).write_bytes(data)
    yield base
    shutil.rmtree(base)


@pytest.fixture
def content() -> dict[str, bytes]:
    """Files to serve, by their path on the server."""
    return {
        "/small.txt": b"twenty bytes, nearly",
        "/page.html": b"<p>NEaT</p>\n" * 700,
        "/big.bin": os.urandom(5_000_000),
        "/empty": b"",
    }


@pytest.fixture
def kernel_server(stack: Stack, content: dict[str, bytes], www: Path) -> Iterator[str]:
    """The URL of a web server at the kernel's end of the wire, with `content`."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", PEER, "--directory", str(www), "8080"]
    process = stack.popen_peer(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def up() -> bool:
        done = stack.peer(sys.executable, "-S", "-c", CONNECT, PEER, "8080", check=False)
        return done.returncode == 0

    try:
        wait_for(up, START_S, "a web server at the other end")
        yield f"http://{PEER}:8080"
    finally:
        process.kill()
        process.wait(END_S)
