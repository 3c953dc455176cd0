"""The preload library under AddressSanitizer and UndefinedBehaviorSanitizer: no report, whatever the
scenarios of tests/posix do, and a server with clients."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.posix import worlds
from tests.support import ROOT, running_stack

pytestmark = pytest.mark.netns

SHIM = ROOT / "neat" / "shim"
FLAGS = ("-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-fno-strict-aliasing", "-fvisibility=hidden")
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


def build(target: Path) -> Path:
    gcc = ["gcc", *FLAGS]
    plain = [target / (Path(name).stem + ".o") for name in PLAIN]
    for name, made in zip(PLAIN, plain, strict=True):
        subprocess.run([*gcc, "-c", "-o", made, SHIM / name], check=True)
    sources = [p for p in sorted(SHIM.rglob("*.c")) if str(p.relative_to(SHIM)) not in PLAIN]
    library = target / "libneat.so"
    linking = ["-shared", "-o", library, *sources, *plain, "-lpthread", "-ldl"]
    subprocess.run([*gcc, *SANITIZERS, "-fno-sanitize-recover=all", *linking], check=True, timeout=100)
    return library


class Sanitized:
    """Programs that run on the sanitized library; a report is a file."""

    def __init__(self, world: worlds.World, library: Path, reports: Path) -> None:
        self.world, self.reports = world, reports
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
        reports = [file.read_text(errors="replace") for file in self.reports.iterdir()]
        for file in self.reports.iterdir():
            file.unlink()
        assert not reports, "\n".join(reports)
        return transcript


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sanitized]:
    where = tmp_path_factory.mktemp("sanitized")
    reports = where / "reports"
    reports.mkdir()
    reports.chmod(0o777)
    library = build(where)
    with contextlib.ExitStack() as still_open:
        stack = still_open.enter_context(running_stack(replicas=2))
        yield Sanitized(still_open.enter_context(worlds.neat(stack)), library, reports)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.build(tmp_path_factory.mktemp("scenarios"))


@pytest.mark.parametrize("family", worlds.families())
def test_scenarios(family: str, sanitized: Sanitized, programs: Path) -> None:
    for scenario in worlds.families()[family]:
        sanitized.run(programs / family, scenario)


def test_server_and_clients(sanitized: Sanitized) -> None:
    assert sanitized.run(sys.executable, "-c", CHATTER) == ["done", "[exit 0]"]


def test_a_fault_is_reported(sanitized: Sanitized, compiled: Callable[[str], str]) -> None:
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        sanitized.run(compiled("overflows.c"))
