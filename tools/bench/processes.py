"""The processes of a benchmark: started, found ready, measured as trees, and ended with their children."""

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

READY_S = 15.0
POLL_S = 0.02
# Lines of a server that did not start which its user is shown.
LAST_LINES = 6

# Before a command: it is told to end when we do, even if we are killed.
WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class SideError(Exception):
    """A side could not be built; the text says why."""


def raise_limits() -> None:
    """As many descriptors as we may have, for us and what we start: both sides the same."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


def start_server(command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a server that prints a line when it is ready; SideError when it does not."""
    pipe = subprocess.PIPE
    server = subprocess.Popen([*WITH_US, *command], stdin=subprocess.DEVNULL, stdout=pipe, text=True, env=env)
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], READY_S)
    if not ready or not server.stdout.readline():
        end(server)
        raise SideError(f"the server did not start: {' '.join(command)}")
    return server


@contextlib.contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str], log: Path, client: int, target: tuple[str, int]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, from when a connection from the network namespace of process `client`
    to `target` succeeds; afterwards its whole session is gone. SideError, with its last lines, when it does
    not start."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + READY_S
        while not answers(client, target):
            if process.poll() is not None:
                raise SideError(f"{named(command)} ended with status {process.returncode}{last_lines(log)}")
            if time.monotonic() > deadline:
                raise SideError(
                    f"no answer from {named(command)} at {target[0]}:{target[1]} "
                    f"within {READY_S:g} s{last_lines(log)}"
                )
            time.sleep(POLL_S)
        yield process
    finally:
        end_session(process)


def named(command: Sequence[str]) -> str:
    return " ".join(command)


def last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return "".join(f"\n  {line}" for line in lines[-LAST_LINES:])


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Ask the leader to end, then kill what is left of its process group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(pid: int, target: tuple[str, int]) -> bool:
    """Whether a connection from the network namespace of process `pid` succeeds."""
    outcome: list[bool] = []

    def dial() -> None:
        # setns(2) moves the calling thread only, and this one ends here.
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/ns/net") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    return
            with socket.create_connection(target, timeout=1.0):
                outcome.append(True)

    thread = threading.Thread(target=dial)
    thread.start()
    thread.join()
    return bool(outcome)


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found
