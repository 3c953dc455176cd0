"""Programs under `neat run`: a stack for each file of tests, an echo server at the wire's other end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, Once, Stack, running_stack

ADDRESS = "10.77.0.2"
PEER = ("10.77.0.1", 7000)
HERE = Path(__file__).parent

ECHO = """
import socket, threading
listener = socket.create_server(("10.77.0.1", 7000), backlog=200)
print("ready", flush=True)
def echo(sock):
    try:
        while data := sock.recv(65536):
            sock.sendall(data)
    except OSError:
        pass
    sock.close()
while True:
    threading.Thread(target=echo, args=listener.accept()[:1], daemon=True).start()
"""

PRELUDE = """
import errno, os, signal, socket, struct, subprocess, sys, threading, time
ADDRESS, PEER = "10.77.0.2", ("10.77.0.1", 7000)

def dial():
    return socket.create_connection(PEER)

def ask(sock, data):
    sock.sendall(data)
    found = b""
    while len(found) < len(data) and (part := sock.recv(65536)):
        found += part
    assert found == data, (found, data)

def numbers():
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))

def numbers_at_rest():
    # When this process has met each replica, and has what it keeps for each; also those that have only UDP.
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("", 0))
    sock.close()
    for _ in range(32):
        dial().close()
    return numbers()

def fails(error, call, *arguments):
    try:
        value = call(*arguments)
    except OSError as found:
        assert found.errno == error, (found, error)
    else:
        raise AssertionError(f"{call} gave {value}")

def sleeping(thread):
    # In poll, select or recv of the kernel, and not only about to be.
    for _ in range(1000):
        with open(f"/proc/self/task/{thread.native_id}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "S":
                return
        time.sleep(0.005)
    raise AssertionError("does not sleep")

def in_thread(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    sleeping(thread)
    return thread
"""


class World:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def command(self, *program: str) -> list[str]:
        return [sys.executable, "-m", "neat", "run", "--name", self.stack.name, "--", *program]

    def run(self, *program: str, timeout: float = 30) -> str:
        """What it printed; it must succeed."""
        done = subprocess.run(
            self.command(*program),
            env=self.stack.env,
            cwd=ROOT,
            timeout=timeout,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def python(self, script: str, *arguments: str, timeout: float = 30) -> str:
        return self.run(sys.executable, "-c", PRELUDE + script, *arguments, timeout=timeout)

    def start(self, *program: str) -> subprocess.Popen[str]:
        """It runs when it has printed its first line."""
        running = subprocess.Popen(
            self.command(*program), env=self.stack.env, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert running.stdout is not None
        assert running.stdout.readline(), "it printed nothing"
        return running

    def start_python(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-c", PRELUDE + script, *arguments)

    def peer(self, script: str, timeout: float = 30) -> str:
        """A Python script at the other end of the wire."""
        return self.stack.peer(sys.executable, "-c", PRELUDE + script, timeout=timeout).stdout


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_world() as world:
        yield world


@pytest.fixture
def mortal_world() -> Iterator[World]:
    """Where a replica takes its connections with it."""
    with a_world(recovery="stateless") as world:
        yield world


@contextlib.contextmanager
def a_world(**settings: Any) -> Iterator[World]:
    with running_stack(replicas=2, **settings) as stack:
        echo = stack.popen_peer(sys.executable, "-c", ECHO, stdout=subprocess.PIPE)
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        try:
            yield World(stack)
        finally:
            echo.terminate()
            echo.wait(10)


@pytest.fixture(scope="session")
def compiled(once: Once) -> Callable[[str], str]:
    """The program that a C file in this directory is."""

    def program(name: str) -> str:
        def build(where: Path) -> None:
            flags = ["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-O2", "-pthread"]
            subprocess.run(["gcc", *flags, HERE / name, "-o", where / "program"], check=True)

        return str(once(Path(name).stem, build) / "program")

    return program


KERNEL = """
def is_neat(sock):
    # A socket on NEaT is a unix socket to the kernel, as libc's own function says.
    import ctypes
    number, size, so_domain = ctypes.c_int(), ctypes.c_uint32(4), 39
    call = sock.fileno(), socket.SOL_SOCKET, so_domain, ctypes.byref(number), ctypes.byref(size)
    assert ctypes.CDLL("libc.so.6").getsockopt(*call) == 0
    return number.value == socket.AF_UNIX
"""


def check(world: World, script: str) -> None:
    """Run it with `is_neat` at hand."""
    world.python(KERNEL + script)
