"""A program that dies, however it dies, leaves nothing on the stack."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.posix import worlds
from tests.support import Once, Stack, running_stack, wait_for

pytestmark = pytest.mark.netns

DEATHS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(replicas=2) as running:
        yield running


@pytest.fixture(scope="module")
def program(once: Once) -> Path:
    return once("scenarios", worlds.build) / "process"


@pytest.mark.parametrize("death", DEATHS, ids=lambda number: number.name)
def test_nothing_is_left_of_a_program_that_a_signal_ended(
    death: signal.Signals, stack: Stack, program: Path
) -> None:
    def open_sockets() -> list[dict[str, object]]:
        rows = stack.sockets()
        return [row for row in rows if row["state"] != "TIME-WAIT"]

    with worlds.neat(stack) as world:
        process = world.popen(program, "=victim")
        assert process.stdout is not None
        assert process.stdout.readline() == "| ready\n"
        assert len(open_sockets()) >= 4
        os.killpg(process.pid, death)
        process.wait(10)
        process.stdout.close()
        wait_for(lambda: not open_sockets(), 10, "no socket left")
