"""Fixtures for every room. Tests marked `netns` are skipped where network namespaces can't be made."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support import Stack, running_stack


def pytest_configure() -> None:
    """A shell without job control starts what runs behind it with SIGINT ignored, and so it would stay."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return
    skip = pytest.mark.skip(reason="needs root and /dev/net/tun")
    for item in items:
        if item.get_closest_marker("netns"):
            item.add_marker(skip)


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack of its own for one test. Settings: `@pytest.mark.parametrize("stack", [{"replicas": 2}],
    indirect=True)`."""
    with running_stack(**getattr(request, "param", {})) as running:
        yield running
