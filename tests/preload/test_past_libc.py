"""io_uring, and what a program does past libc's names. What a descriptor is afterwards: the scenarios
past_libc of tests/posix."""

import subprocess
import sys

import pytest

from tests.preload.conftest import World
from tests.support import ROOT

pytestmark = pytest.mark.netns

IO_URING = """
import ctypes, os
io_uring_setup, parameters = 425, ctypes.create_string_buffer(120)
fd = ctypes.CDLL(None, use_errno=True).syscall(io_uring_setup, 4, parameters)
print(os.strerror(ctypes.get_errno()) if fd < 0 else "a ring")
"""


def io_uring(command: list[str], world: World) -> str:
    done = subprocess.run(
        [*command, sys.executable, "-c", IO_URING],
        env=world.stack.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def test_io_uring_is_not_there(world: World) -> None:
    assert io_uring(world.command(), world) == "Function not implemented"


def test_io_uring_is_there_if_it_is_asked_for(world: World) -> None:
    run = world.command()
    command = [*run[: run.index("--")], "--io-uring", "--"]
    assert io_uring(command, world) == io_uring([], world)


def test_programs_that_it_starts_do_not_have_it_either(world: World) -> None:
    run = [*world.command(), "env", "-i", "PATH=/usr/bin:/bin"]
    assert io_uring(run, world) == "Function not implemented"
