"""The preload library under AddressSanitizer and UndefinedBehaviorSanitizer: no report, whatever the
scenarios of tests/posix do, and a server with clients."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from neat.abi.layout import NEAT_SOCKS_OFFSET, neat_sock, sock_offset
from tests.posix import worlds
from tests.support import ROOT, Once, Stack, running_stack, wait_for

pytestmark = pytest.mark.netns

NEAT = ROOT / "neat"
SHIM = NEAT / "shim"
FLAGS = (
    *("-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-fno-strict-aliasing", "-fvisibility=hidden"),
    f"-I{NEAT}",
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-omit-frame-pointer")
# AddressSanitizer calls setrlimit() while it sets itself up: what that runs through cannot be instrumented.
PLAIN = ("preload/limits.c", "real.c")
CHATTER = """
import select, socket, sys, threading
listener = socket.create_server(("10.77.0.2", 7100), backlog=64)
def serve():
    ready, open_ones = select.epoll(), {listener.fileno(): listener}
    ready.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in ready.poll():
            if fd == listener.fileno():
                fresh, _ = listener.accept()
                open_ones[fresh.fileno()] = fresh
                ready.register(fresh, select.EPOLLIN | select.EPOLLRDHUP)
            elif data := open_ones[fd].recv(65536):
                open_ones[fd].sendall(data)
            else:
                open_ones.pop(fd).close()
threading.Thread(target=serve, daemon=True).start()
def ask(number):
    for turn in range(20):
        with socket.create_connection(("10.77.0.2", 7100)) as sock:
            text = bytes([number]) * (turn * 3001 + 1)
            writer = threading.Thread(target=sock.sendall, args=(text,))
            writer.start()
            found = b""
            while len(found) < len(text) and (part := sock.recv(65536)):
                found += part
            writer.join()
            assert found == text
clients = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
for client in clients: client.start()
for client in clients: client.join()
print("done")
"""

SERVER = """
import os, select, signal, socket, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
listener = socket.create_server(("10.77.0.2", 7101), backlog=64)
ready, open_ones = select.epoll(), {}
ready.register(listener, select.EPOLLIN)
print("ready", flush=True)
def poll_too():
    while True:
        waiting = select.poll()
        for fd in list(open_ones):
            waiting.register(fd, select.POLLIN | select.POLLOUT)
        waiting.poll(5)
threading.Thread(target=poll_too, daemon=True).start()
while True:
    for fd, _ in ready.poll():
        try:
            if fd == listener.fileno():
                fresh, _ = listener.accept()
                fresh.setblocking(False)
                open_ones[fresh.fileno()] = fresh
                ready.register(fresh, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
            elif fd in open_ones and (data := open_ones[fd].recv(65536)):
                open_ones[fd].send(data)
            elif fd in open_ones:
                open_ones.pop(fd).close()
        except BlockingIOError:
            pass
        except OSError:
            if fd in open_ones:
                open_ones.pop(fd).close()
"""
CALLERS = """
import random, socket, time
until, open_ones = time.monotonic() + 4, []
while time.monotonic() < until:
    if len(open_ones) < 40:
        try:
            open_ones.append(socket.create_connection(("10.77.0.2", 7101), timeout=0.2))
            open_ones[-1].setblocking(False)
        except OSError:
            pass
    for sock in list(open_ones):
        try:
            sock.send(bytes(random.randrange(1, 20000)))
            sock.recv(65536)
        except BlockingIOError:
            pass
        except OSError:
            open_ones.remove(sock)
            sock.close()
    time.sleep(0.005)
"""
SCRIBBLED_SOCKS = 400
# In a socket object: where eight bytes would touch tx_lock or rx_lock.
LOCKS = range(neat_sock["tx_lock"].offset - 4, neat_sock["rx_lock"].offset + 1)


def build(target: Path) -> None:
    gcc = ["gcc", *FLAGS]
    plain = [target / (Path(name).stem + ".o") for name in PLAIN]
    for name, made in zip(PLAIN, plain, strict=True):
        subprocess.run([*gcc, "-c", "-o", made, SHIM / name], check=True)
    sources = [p for p in sorted(SHIM.rglob("*.c")) if str(p.relative_to(SHIM)) not in PLAIN]
    linking = ["-shared", "-o", target / "libneat.so", *sources, *plain, "-lpthread", "-ldl"]
    subprocess.run([*gcc, *SANITIZERS, "-fno-sanitize-recover=all", *linking], check=True)


class Sanitized:
    """Programs that run on the sanitized library; a report is a file."""

    def __init__(self, stack: Stack, world: worlds.World, library: Path, reports: Path) -> None:
        self.stack, self.world, self.reports = stack, world, reports
        runtime = subprocess.run(
            ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
        )
        # Their own leaks are theirs.
        options = f"log_path={reports}/report:detect_leaks=0"
        world.env |= {
            "SCENARIO_PRELOAD": f"{runtime.stdout.strip()} {library}",
            "ASAN_OPTIONS": options,
            "UBSAN_OPTIONS": f"print_stacktrace=1:{options}",
        }

    def run(self, *program: str | Path) -> list[str]:
        transcript = self.world.transcript(*program)
        assert transcript[-1] != "[hangs]", "\n".join(transcript)
        self.expect_no_report()
        return transcript

    def expect_no_report(self) -> None:
        reports = [file.read_text(errors="replace") for file in self.reports.iterdir()]
        for file in self.reports.iterdir():
            file.unlink()
        assert not reports, "\n".join(reports)


@pytest.fixture(scope="module")
def sanitized(once: Once, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sanitized]:
    reports = tmp_path_factory.mktemp("reports")
    reports.chmod(0o777)
    library = once("sanitized", build) / "libneat.so"
    with contextlib.ExitStack() as still_open:
        stack = still_open.enter_context(running_stack(replicas=2))
        yield Sanitized(stack, still_open.enter_context(worlds.neat(stack)), library, reports)


@pytest.fixture(scope="module")
def programs(once: Once) -> Path:
    return once("scenarios", worlds.build)


@pytest.mark.parametrize("family", worlds.families())
def test_scenarios(family: str, sanitized: Sanitized, programs: Path) -> None:
    for scenario in worlds.families()[family]:
        sanitized.run(programs / family, scenario)


def test_server_and_clients(sanitized: Sanitized) -> None:
    assert sanitized.run(sys.executable, "-c", CHATTER) == ["done", "[exit 0]"]


def segments_of(pid: int) -> list[mmap.mmap]:
    """What it shares with replicas, for us to write."""
    found = {}
    for file in Path(f"/proc/{pid}/map_files").iterdir():
        if str(file.readlink()).startswith("/memfd:"):
            with file.open("r+b") as opened:
                found[os.fstat(opened.fileno()).st_ino] = mmap.mmap(opened.fileno(), 0)
    return list(found.values())


def scribble(chance: random.Random, segment: mmap.mmap) -> None:
    """Four or eight bytes of nonsense: pollers, event bits, dirty bits, socket objects of either side."""
    at = chance.randrange(64, sock_offset(SCRIBBLED_SOCKS)) & ~3
    if at >= NEAT_SOCKS_OFFSET and (at - NEAT_SOCKS_OFFSET) % neat_sock.size in LOCKS:
        return
    value = chance.choice(
        (bytes(8), b"\xff" * 8, b"\x01" + bytes(7), chance.randbytes(8), chance.randbytes(4))
    )
    segment[at : at + len(value)] = value


def components(stack: Stack) -> dict[str, int]:
    return {component["name"]: component["restarts"] for component in stack.status()["components"]}


def test_nonsense_in_its_segments(sanitized: Sanitized) -> None:
    """Neither the program nor a replica crashes or hangs, and the next program finds all as it was."""
    before = components(sanitized.stack)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    victim = sanitized.world.popen(sys.executable, "-c", SERVER)
    try:
        assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
        callers = sanitized.stack.popen_peer(sys.executable, "-c", CALLERS)
        wait_for(lambda: len(segments_of(victim.pid)) == 2, 10, "both replicas have connections of it")
        segments = segments_of(victim.pid)
        while callers.poll() is None:
            for _ in range(200):
                scribble(chance, chance.choice(segments))
            time.sleep(0.01)
        victim.terminate()
        assert victim.wait(20) == 7
    finally:
        victim.kill()
        victim.communicate()
    sanitized.expect_no_report()
    assert components(sanitized.stack) == before
    assert sanitized.run(sys.executable, "-c", CHATTER) == ["done", "[exit 0]"]


def test_a_fault_is_reported(sanitized: Sanitized, compiled: Callable[[str], str]) -> None:
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        sanitized.run(compiled("overflows.c"))
