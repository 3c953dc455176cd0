"""The board: own pages, readers, and pages with any bytes in them."""

import contextlib
import os
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neat.shm import board, counters, segment
from neat.shm.board import BOARD_BYTES, BOARD_PAGES, BoardReader, BoardWriter, read_board, start_ticks
from neat.shm.segment import Segment, SegmentError


@pytest.fixture
def fd():
    fd = segment.create("board", BOARD_BYTES)
    yield fd
    os.close(fd)


def test_life_of_a_component(fd):
    writer, reader = BoardWriter(fd, "driver"), BoardReader(fd)
    assert reader.read("driver") is None and reader.read_all() == []
    before = time.monotonic_ns()
    writer.announce(3)
    status = reader.read("driver")
    assert (status.component, status.pid, status.incarnation, status.state_name) == (
        "driver",
        os.getpid(),
        3,
        "starting",
    )
    assert status.start_ticks == start_ticks(os.getpid()) > 0
    assert before <= status.heartbeat <= time.monotonic_ns()
    writer.running()
    writer.busy(500)
    writer.busy(500)
    writer.heartbeat()
    later = reader.read("driver")
    assert later.state_name == "running" and later.started_ns >= before and later.busy_ns == 1000
    assert later.loops == status.loops + 1 and later.heartbeat > status.heartbeat
    assert reader.heartbeat("driver") == (os.getpid(), later.heartbeat)
    writer.stopping()
    assert reader.read("driver").state_name == "stopping"


def test_counters_have_names_and_start_at_zero(fd):
    writer, reader = BoardWriter(fd, "driver"), BoardReader(fd)
    writer.announce(1)
    writer.count("rx_frames")
    writer.count("rx_frames", 2**40)
    writer.count("replica15.tx_drops", 7)
    values = reader.read("driver").counters
    assert values["rx_frames"] == 2**40 + 1 and values["replica15.tx_drops"] == 7
    assert sum(values.values()) == 2**40 + 8
    with pytest.raises(KeyError):
        writer.count("no_such_counter")
    writer.announce(2)
    assert not any(reader.read("driver").counters.values())


def test_each_component_has_a_page_of_its_own(fd):
    writers = {name: BoardWriter(fd, name) for name in BOARD_PAGES if not name.startswith("replica")}
    for number, writer in enumerate(writers.values()):
        writer.announce(number)
    seen = {status.component: status.incarnation for status in read_board(fd)}
    assert seen == {"supervisor": 0, "driver": 1, "syscall": 2, "guardian": 3}
    assert [board.page_index(f"replica{slot}") for slot in (0, 15)] == [8, 23]
    assert {writer.address % 4096 for writer in writers.values()} == {0}
    with pytest.raises(KeyError):
        board.page_index("replica16")


@pytest.mark.parametrize("component", list(BOARD_PAGES))
def test_counter_indexes_fit_and_differ(component):
    names = counters.names(component)
    assert len(set(names.values())) == len(names) > 0
    assert all(0 <= index < 384 for index in names.values())


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600), st.integers(0, 4096 - 600), st.booleans())
def test_a_page_may_hold_any_bytes(fd, junk, place, announced):
    view = Segment(fd, BOARD_BYTES).view
    if announced:
        BoardWriter(fd, "driver").announce(1)
    view[4096 + place : 4096 + place + len(junk)] = junk
    status = BoardReader(fd).read("driver")
    assert status is None or status.state_name in ("absent", "starting", "running", "stopping")


def test_reader_refuses_what_is_no_board():
    fd = segment.create("other", BOARD_BYTES // 2)
    with pytest.raises(SegmentError):
        BoardReader(fd)
    with pytest.raises(SegmentError):
        BoardWriter(fd, "driver")
    os.close(fd)


@contextlib.contextmanager
def process_named(name):
    """A process that calls itself so; it ends with the block."""
    code = (
        f"import sys; open('/proc/self/comm', 'w').write({name!r}); print('ok', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ok\n"
        yield process
        process.communicate()


@pytest.mark.parametrize("name", ["a b", "x) S 1 1 (", ")))))"])
def test_start_ticks_of_a_process_with_an_awkward_name(name):
    with process_named("before") as before, process_named(name) as awkward, process_named("after") as after:
        assert 0 < start_ticks(before.pid) <= start_ticks(awkward.pid) <= start_ticks(after.pid)
    assert start_ticks(awkward.pid) == 0
