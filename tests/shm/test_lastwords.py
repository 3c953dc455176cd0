"""What a process says when a signal ends it, and that it ends all the same."""

import os
import random
import signal
import subprocess
import sys

import pytest

from neat.shm import segment
from neat.shm.board import BOARD_BYTES, BOARD_PAGE_BYTES, BoardReader, page_index
from neat.shm.segment import Segment

PROGRAM = """
import ctypes, os, resource, signal, sys
from neat.shm.lastwords import prepare_last_words
from neat.shm.board import BoardWriter
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
board = BoardWriter(int(sys.argv[1]), "driver")
board.announce(7)
prepare_last_words(board)
"""
DEEP = """
sys.setrecursionlimit(1 << 30)
nested = []
for _ in range(1 << 21):
    nested = [nested]
repr(nested)
"""


@pytest.fixture
def fd():
    fd = segment.create("board", BOARD_BYTES)
    yield fd
    os.close(fd)


def end_by(fd, what):
    """How a process ended that did `what`, and its last words."""
    command = [sys.executable, "-c", PROGRAM + what, str(fd)]
    done = subprocess.run(command, pass_fds=[fd], timeout=60, capture_output=True, check=False)
    return done.returncode, BoardReader(fd).last_words("driver")


def test_an_address_that_is_not_there(fd):
    status, words = end_by(fd, "ctypes.string_at(0x1230)")
    assert status == -signal.SIGSEGV == -words.signal
    assert (words.incarnation, words.address, words.code) == (7, 0x1230, 1)
    assert any(line.startswith("libc+0x") for line in words.frames)
    assert len(words.frames) > 3


def test_abort(fd):
    status, words = end_by(fd, "os.abort()")
    assert status == -signal.SIGABRT == -words.signal
    assert words.address == 0 and words.frames


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL"])
def test_a_signal_that_was_sent(fd, name):
    """It has no address, and ends the process as if nobody had looked."""
    number = signal.Signals[name]
    status, words = end_by(fd, f"os.kill(os.getpid(), {number:d})")
    assert status == -number == -words.signal
    assert (words.address, words.code) == (0, 0)


def test_no_stack_is_left(fd):
    status, words = end_by(fd, DEEP)
    assert status == -signal.SIGSEGV == -words.signal
    assert words.address and words.frames


@pytest.mark.parametrize("what", ["pass", "os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)"])
def test_who_is_killed_or_exits_says_nothing(fd, what):
    assert end_by(fd, what)[1] is None


def test_a_successor_begins_without(fd):
    end_by(fd, "os.abort()")
    assert end_by(fd, "pass")[1] is None


def test_any_bytes(fd):
    memory = Segment(fd, BOARD_BYTES).view
    start = page_index("driver") * BOARD_PAGE_BYTES
    for seed in range(50):
        memory[start : start + 512] = random.Random(seed).randbytes(512)
        words = BoardReader(fd).last_words("driver")
        assert words is None or all(line.isprintable() for line in words.frames)
