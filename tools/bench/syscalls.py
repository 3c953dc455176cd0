"""System calls that a server makes, counted by the kernel while it runs: with perf, else with strace.

perf counts at the system call's tracepoint and slows the server little. strace stops it at each one, so that
less work gathers between two calls of epoll_wait and a request seems to take more of them.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import which

from neat.tools.bench.load import LoadError

ATTACHED_S = 20.0
POLL_S = 0.01
ALL = "raw_syscalls:sys_enter"
PREFIX = "syscalls:sys_enter_"
# The calls that are counted by name, each pattern one that every architecture has: hundreds of tracepoints
# would take perf seconds to let go of.
NAMES = (
    *("read*", "write*", "send*", "recv*", "accept*", "epoll_*", "*poll", "*select*", "close", "shutdown"),
    *("fcntl", "ioctl", "*sockopt", "openat", "futex", "newfstat*", "readlink", "pread*"),
)
OTHER = "other"
# Those that no socket takes: a server makes them for its files, on any stack.
FILE_CALLS = frozenset({"openat", "pread64", "preadv", "preadv2", "newfstat", "newfstatat", "readlink"})


class Counts:
    """Calls by name; `method` is the program that counted. Complete when `counting` has ended."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.by_name: dict[str, int] = {}
        self.total = 0


def counting(pids: Sequence[int]) -> contextlib.AbstractContextManager[Counts]:
    """Counts what these processes call inside the block. LoadError when nothing can count."""
    if perf_works():
        return with_perf(pids)
    if which("strace"):
        return with_strace(pids)
    raise LoadError("--syscalls needs perf or strace (Debian: apt-get install linux-perf strace)")


def perf_works() -> bool:
    """Whether there is a perf, tracepoints that we may read, and a file system that names them."""
    if not which("perf"):
        return False
    command = ["perf", "stat", "-x,", "-e", ALL, "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ATTACHED_S)
    return done.returncode == 0 and "" in parse_perf(done.stderr)


@contextlib.contextmanager
def with_perf(pids: Sequence[int]) -> Iterator[Counts]:
    """perf-stat(1), its events disabled until it is attached and its control pipe has said so."""
    counts = Counts("perf")
    control_read, control_write = os.pipe()
    said_read, said_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="neat-perf-") as folder:
        output = Path(folder) / "counts"
        command = ["perf", "stat", "-x,", "-o", str(output), "-p", ",".join(map(str, pids))]
        command += ["-e", ",".join([ALL, *(PREFIX + name for name in NAMES)])]
        command += ["-D", "-1", "--control", f"fd:{control_read},{said_write}"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(control_read, said_write),
        )
        os.close(control_read)
        os.close(said_write)
        try:
            with contextlib.suppress(BrokenPipeError):
                os.write(control_write, b"enable\n")
            ready, _, _ = select.select([said_read], [], [], ATTACHED_S)
            if not ready or not os.read(said_read, 16).startswith(b"ack"):
                raise LoadError("perf cannot attach to the server")
            yield counts
            finish(process)
            counts.by_name = parse_perf(output.read_text())
            counts.total = counts.by_name.pop("", 0)
            counts.by_name[OTHER] = max(counts.total - sum(counts.by_name.values()), 0)
        finally:
            finish(process)
            os.close(control_write)
            os.close(said_read)


def parse_perf(text: str) -> dict[str, int]:
    """Counts by name from `perf stat -x,`; "" is the sum that the kernel counted by itself."""
    found = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdecimal() and int(fields[0]):
            if fields[2] == ALL:
                found[""] = int(fields[0])
            elif fields[2].startswith(PREFIX):
                found[fields[2].removeprefix(PREFIX)] = int(fields[0])
    return found


@contextlib.contextmanager
def with_strace(pids: Sequence[int]) -> Iterator[Counts]:
    """strace(1) -c; it says on its standard error when it is attached to a process."""
    counts = Counts("strace")
    with tempfile.TemporaryDirectory(prefix="neat-strace-") as folder:
        output, said = Path(folder) / "counts", Path(folder) / "said"
        command = ["strace", "-c", "-f", "-U", "calls,name", "-o", str(output)]
        with said.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, *(f"--attach={pid}" for pid in pids)], stdin=subprocess.DEVNULL, stderr=stderr
            )
        try:
            deadline = time.monotonic() + ATTACHED_S
            while said.read_text().count(" attached") < len(pids):
                if process.poll() is not None or time.monotonic() > deadline:
                    text = " ".join(said.read_text().split())
                    raise LoadError(f"strace cannot count system calls: {text[-300:]}")
                time.sleep(POLL_S)
            yield counts
            finish(process)
            counts.by_name = parse_strace(output.read_text())
            counts.total = sum(counts.by_name.values())
        finally:
            finish(process)


def parse_strace(text: str) -> dict[str, int]:
    rows = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", text, re.MULTILINE)
    return {name: int(count) for count, name in rows if name != "total"}


def finish(process: subprocess.Popen[bytes]) -> None:
    """SIGINT: both programs then let their processes go and write their counts."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(ATTACHED_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
