"""Fixtures for every room. Tests marked `netns` are skipped where network namespaces can't be made."""

import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import DATAPATH, Once, Stack, running_stack

pytest_plugins = ["tests.flaky"]


def pytest_configure() -> None:
    """A shell without job control starts what runs behind it with SIGINT ignored, and so it would stay."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# What takes long comes first, so that at the end there is something to do for every worker.
FIRST = ("test_packages.py", "test_sanitized.py", "test_bench_sides.py", "test_tools.py", "test_recovery.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in FIRST)
    if os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return
    skip = pytest.mark.skip(reason="needs root and /dev/net/tun")
    for item in items:
        if item.get_closest_marker("netns"):
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Thousands of tests and what they import stay: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack of its own for one test. Settings: `@pytest.mark.parametrize("stack", [{"replicas": 2}],
    indirect=True)`."""
    with running_stack(**getattr(request, "param", {})) as running:
        yield running


@pytest.fixture(scope="session")
def datapath(request: pytest.FixtureRequest) -> str:
    """That of a test's stacks: the default, or with the mark `support.each_datapath` one after the other."""
    from neat.drivers import program

    name: str = getattr(request, "param", DATAPATH)
    if name == "queues" and (why := program.usable()):
        pytest.skip(why)
    return name


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(NAME, build)`: a directory that `build(directory)` has filled, once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def build_once(name: str, build: Callable[[Path], object]) -> Path:
        made, finished = base / name, base / f"{name}.finished"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                build(made)
                finished.touch()
        return made

    return build_once
