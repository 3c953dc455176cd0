"""The two worlds of a comparison: the same server program, with a client at the other end of one wire."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from neat.tools.stack import Stack

READY_S = 15.0


class SideError(Exception):
    """A side could not be built; the text says why."""


class Side(Protocol):
    """A server that serves `site`, reachable from where `inside` puts a command."""

    name: str
    address: str

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on the client's side of the wire."""
        ...

    def pids(self) -> dict[str, int]:
        """The processes whose CPU time counts, by component."""
        ...


class NeatSide:
    name = "neat"

    def __init__(self, stack: Stack, server: subprocess.Popen[str]) -> None:
        self.stack = stack
        self.server = server
        self.address = stack.address

    def inside(self, command: Sequence[str]) -> list[str]:
        return self.stack.inside(command)

    def pids(self) -> dict[str, int]:
        return self.stack.pids() | {"server": self.server.pid}


class LinuxSide:
    name = "linux"
    address = "10.78.0.2"

    def __init__(self, client_pid: int, server: subprocess.Popen[str]) -> None:
        self.client_pid = client_pid
        self.server = server

    def inside(self, command: Sequence[str]) -> list[str]:
        return in_namespace(self.client_pid, command)

    def pids(self) -> dict[str, int]:
        return {"server": self.server.pid}


def in_namespace(pid: int, command: Sequence[str]) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *command]


def start_server(command: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a server that prints a line when it is ready; SideError when it does not."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=env)
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], READY_S)
    if not ready or not server.stdout.readline():
        end(server)
        raise SideError(f"the server did not start: {' '.join(command)}")
    return server


def end(process: subprocess.Popen[str]) -> None:
    """Ask a process to end, and see to it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def httpd(site: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "neat.tools.httpd", *options, str(site)]


@contextlib.contextmanager
def neat_side(site: Path, replicas: int, name: str | None = None, **settings: str) -> Iterator[NeatSide]:
    """A stack of its own, and the server on it."""
    with Stack.up(name or f"bench-{os.getpid()}", replicas, settings) as stack:
        server = start_server(httpd(site, "--name", stack.name), stack.environment())
        try:
            yield NeatSide(stack, server)
        finally:
            end(server)


@contextlib.contextmanager
def linux_side(site: Path) -> Iterator[LinuxSide]:
    """Two network namespaces, a veth pair between them, and the server on Linux's own sockets."""
    with namespace() as server_pid, namespace() as client_pid:
        for where, *command in (
            (
                server_pid,
                "link",
                "add",
                "wire",
                "type",
                "veth",
                "peer",
                "name",
                "wire",
                "netns",
                str(client_pid),
            ),
            (server_pid, "address", "add", "10.78.0.2/24", "dev", "wire"),
            (server_pid, "link", "set", "wire", "up"),
            (client_pid, "address", "add", "10.78.0.1/24", "dev", "wire"),
            (client_pid, "link", "set", "wire", "up"),
            (client_pid, "link", "set", "lo", "up"),
        ):
            done = subprocess.run(
                in_namespace(where, ["ip", *command]), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SideError(f"ip {' '.join(command)}: {done.stderr.strip()}")
        server = start_server(in_namespace(server_pid, httpd(site, "--kernel")))
        try:
            yield LinuxSide(client_pid, server)
        finally:
            end(server)


@contextlib.contextmanager
def namespace() -> Iterator[int]:
    """A network namespace that lives as long as a process that waits for us; its pid."""
    mine = os.stat("/proc/self/ns/net").st_ino
    holder = subprocess.Popen(
        ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        deadline = time.monotonic() + READY_S
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == mine:
            if holder.poll() is not None or time.monotonic() > deadline:
                raise SideError("a network namespace cannot be made: are you root?")
            time.sleep(0.005)
        yield holder.pid
    finally:
        end(holder)
