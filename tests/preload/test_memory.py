"""mlockall() locks what is the program's, and leaves alone what it shares with the stack."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.preload.conftest import ECHO, PEER, World
from tests.support import running_stack

pytestmark = pytest.mark.netns

RING = 1 << 16
MOST_KIB = 1024  # of 64 MiB; one connection touches its rings and what stands before them


@pytest.fixture(scope="module")
def small() -> Iterator[World]:
    """A stack whose segments would not fill a machine."""
    with running_stack(replicas=1, sockets_per_app=512, socket_rx_bytes=RING, socket_tx_bytes=RING) as stack:
        echo = stack.popen_peer(sys.executable, "-c", ECHO, stdout=subprocess.PIPE)
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"ready\n"
        try:
            yield World(stack)
        finally:
            echo.terminate()
            echo.wait(10)


@pytest.mark.parametrize("when", ["before", "after"])
def test_segments_are_neither_filled_nor_locked(
    when: str, small: World, compiled: Callable[[str], str]
) -> None:
    own, first, again, second = small.run(compiled("locks.c"), PEER[0], str(PEER[1]), when).splitlines()
    assert own == ("early filled, late filled" if when == "before" else "early filled, late empty")
    assert again == "late filled"
    for line in (first, second):
        segments, resident, locked = map(int, re.findall(r"\d+", line))
        assert segments > 0
        assert locked == 0
        assert resident < MOST_KIB
