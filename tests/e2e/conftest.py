"""A stack with the demo server on it, and a view of which replica has which connection."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neat.tools import site as sample
from neat.tools.bench.processes import end, start_server
from neat.tools.bench.servers import httpd
from neat.tools.driven import REPORT_S, Client, Download
from tests.support import Stack, running_stack, wait_for

BIG_MEGABYTES = 100
ADDRESS = "10.77.0.2"


class Served:
    """A stack and its server. `hashes`: the SHA-256 of each file, by path."""

    def __init__(
        self, stack: Stack, root: Path, hashes: dict[str, str], server: subprocess.Popen[str]
    ) -> None:
        self.stack = stack
        self.root = root
        self.hashes = hashes
        self.server = server
        self.url = f"http://{ADDRESS}"

    def peer(self, command: Any) -> list[str]:
        return self.stack.peer_command(*command)

    def client(
        self, what: str, *arguments: str, path: str = "/hello.txt", patience: float = REPORT_S
    ) -> Client:
        options = [what, ADDRESS, "--path", path, "--sha256", self.hashes[path], *arguments]
        return Client(self.peer, self.stack.env, *options, patience=patience)

    def download(self, target: Path, rate: int | None = None) -> Download:
        return Download(self.peer, self.stack.env, f"{self.url}/big.bin", target, rate)

    def sockets(self, port: int = 80) -> list[dict[str, Any]]:
        """The rows of `neat ss -a` for a local port."""
        rows = self.stack.sockets()
        return [row for row in rows if row["local"].endswith(f":{port}")]

    def owners(self, ports: set[int]) -> dict[int, set[int]]:
        """Which of these client ports each replica has, once their connections are all established: a client
        is connected before its last ACK has been read."""

        def owners() -> dict[int, set[int]] | None:
            found: dict[int, set[int]] = {}
            for row in self.sockets():
                port = int(row["remote"].rpartition(":")[2]) if row["state"] == "ESTAB" else 0
                if port in ports:
                    found.setdefault(row["replica"], set()).add(port)
            return found if sum(map(len, found.values())) == len(ports) else None

        result: dict[int, set[int]] = wait_for(owners, 20, f"{len(ports)} established connections")
        return result

    def answers(self) -> bool:
        """A new connection gets the right bytes."""
        with self.client("churn", "--count=1") as client:
            return client.first["ok"] == 1

    def replaced(self, component: str, old: int, patience: float = 10) -> None:
        """Wait until another process runs as `component`."""

        def done() -> bool:
            status = self.stack.status_or_none()
            parts = status["components"] if status else []
            return any(p["name"] == component and p["state"] == "running" and p["pid"] != old for p in parts)

        wait_for(done, patience, f"a successor of {component}")


@contextlib.contextmanager
def serve(root: Path, hashes: dict[str, str], **settings: Any) -> Iterator[Served]:
    with running_stack(**settings) as stack:
        server = start_server(httpd(root), stack.env | {"NEAT_STACK": stack.name})
        try:
            yield Served(stack, root, hashes, server)
        finally:
            end(server)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A sample site, and the SHA-256 of each of its files."""
    root = tmp_path_factory.mktemp("e2e") / "site"
    return root, sample.make(root, BIG_MEGABYTES)


@pytest.fixture
def served(
    request: pytest.FixtureRequest, site: tuple[Path, dict[str, str]], datapath: str
) -> Iterator[Served]:
    """For one test, which may break things. Settings as with `stack`."""
    with serve(*site, datapath=datapath, **getattr(request, "param", {})) as running:
        yield running


@pytest.fixture(scope="module")
def shared(site: tuple[Path, dict[str, str]], datapath: str) -> Iterator[Served]:
    """For all tests of a module that break nothing. Connections are forgotten soon."""
    with serve(*site, datapath=datapath, time_wait_ms=500) as running:
        yield running


@pytest.fixture
def python_on_stack() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code on the stack; it must print a line when it is ready. Ended after the test."""

    with contextlib.ExitStack() as ends:

        def start(stack: Stack, code: str, *arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", code, *arguments]
            process = start_server(command, stack.env | {"NEAT_STACK": stack.name})
            ends.callback(end, process)
            return process

        yield start
