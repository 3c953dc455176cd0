"""When the stack asks the kernel for a CPU latency, and when no more. The device is a file here."""

import os
import struct

import pytest

from neat.shm import board, segment
from neat.shm.board import BoardReader, BoardWriter
from neat.supervisor import latency
from neat.supervisor.latency import KEPT_NS, LEAST_NS, UNASKED, CpuLatency

TURN_NS = 100_000_000
LITTLE, MUCH = TURN_NS // 50, TURN_NS // 10  # ns awake in a turn


@pytest.fixture
def device(tmp_path):
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


class Turns:
    """Looks at replicas that are awake for so long in each turn."""

    def __init__(self, request):
        self.request = request
        self.now = self.busy = 0

    def __call__(self, awake_ns, turn_ns=TURN_NS):
        self.now += turn_ns
        self.busy += awake_ns
        self.request.look(self.busy, self.now)
        return self.request.asked


def open_files(path):
    """How often this process has it open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the listing's own
            continue
    return links.count(str(path))


def test_asked_while_replicas_are_busy(device):
    turn = Turns(CpuLatency(7, device))
    assert not turn(MUCH), "nobody knows yet since when"
    assert not turn(LITTLE)
    assert turn(MUCH)
    assert device.read_bytes() == struct.pack("=i", 7)
    assert turn(MUCH) and open_files(device) == 1
    for _ in range(KEPT_NS // TURN_NS):
        assert turn(LITTLE), "a short rest does not end it"
    assert not turn(LITTLE)
    assert open_files(device) == 0
    assert turn(MUCH), "and it begins again"
    turn.request.release()
    assert open_files(device) == 0
    turn.request.release()


def test_looks_in_quick_succession_are_one(device):
    """A replica says what it did when it rests, so nothing is known of a moment."""
    turn = Turns(CpuLatency(0, device))
    turn(0)
    for _ in range(4):
        assert not turn(MUCH, LEAST_NS // 5)
    assert turn(MUCH, LEAST_NS // 5)


@pytest.mark.parametrize("busy", [0, -(1 << 62), 1 << 63, (1 << 64) - 1])
def test_what_the_pages_say_may_be_anything(device, busy):
    """A replica wrote it, and a new one begins anew."""
    turn = Turns(CpuLatency(0, device))
    turn(1 << 40)
    turn.request.look(busy, turn.now + TURN_NS)
    assert turn.request.asked == (busy > 1 << 40)
    turn.request.release()


def test_what_is_not_asked_needs_no_device(device):
    assert latency.usable(UNASKED, device.parent / "none") == ""


def test_a_kernel_that_does_not_take_it(device):
    missing = device.parent / "none"
    assert latency.usable(0, device) == ""
    assert latency.usable(0, missing) == f"{missing}: No such file or directory"
    turn = Turns(CpuLatency(0, missing))
    turn(MUCH)
    with pytest.raises(FileNotFoundError):
        turn(MUCH)
    assert not turn.request.asked
    full = CpuLatency(0, device.__class__("/dev/full"))
    full.look(0, 0)
    with pytest.raises(OSError, match="No space left"):
        full.look(MUCH, TURN_NS)
    assert open_files("/dev/full") == 0


def test_what_replicas_were_awake_for_adds_up():
    fd = segment.create("board", board.BOARD_BYTES)
    try:
        for name, nanoseconds in (("replica0", 5), ("replica1", 6), ("driver", 7)):
            writer = BoardWriter(fd, name)
            writer.announce(1)
            writer.busy(nanoseconds)
        assert latency.busy_ns(BoardReader(fd), ["replica0", "replica1", "replica2"]) == 11
    finally:
        os.close(fd)
