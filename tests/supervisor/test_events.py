"""The event log outlives the supervisor that wrote it, whenever that one was killed."""

import contextlib
import os

import pytest

from neat.supervisor.events import MAX_EVENTS, EventLog, describe


@pytest.fixture
def fd():
    fd = os.memfd_create("journal")
    yield fd
    os.close(fd)


def test_successor_goes_on_with_the_log_and_the_numbers(fd):
    log = EventLog(fd)
    assert [log.next_incarnation("driver"), log.next_incarnation("driver")] == [1, 2]
    log.record("driver", "died", "crashed with SIGSEGV")
    successor = EventLog(fd)
    assert [event["what"] for event in successor.events] == ["died"]
    assert successor.next_incarnation("driver") == 3


def test_incarnation_is_never_below_what_the_board_says(fd):
    assert EventLog(fd).next_incarnation("driver", at_least=7) == 8


def test_log_is_bounded(fd):
    log = EventLog(fd)
    for i in range(MAX_EVENTS + 50):
        log.record("driver", "died", str(i))
    assert len(EventLog(fd).events) == MAX_EVENTS
    assert os.fstat(fd).st_size < 1 << 17


@pytest.mark.parametrize(
    "damage",
    [
        lambda fd: os.pwrite(fd, b"\xff" * 8, 0),
        lambda fd: os.pwrite(fd, b"\xff\xff", 28),
        lambda fd: os.pwrite(fd, (5).to_bytes(8, "little"), 0),
        lambda fd: os.pwrite(fd, (5).to_bytes(8, "little"), 8),
        lambda fd: os.pwrite(fd, b"[1, 2]" + b" " * 300, 16),
        lambda fd: os.ftruncate(fd, 9),
    ],
)
def test_damaged_log_is_as_none(fd, damage):
    EventLog(fd).record("driver", "died")
    damage(fd)
    log = EventLog(fd)
    assert list(log.events) == []
    log.record("driver", "is back")
    assert len(EventLog(fd).events) == 1


@pytest.mark.parametrize("writes", [0, 1, 2])
@pytest.mark.parametrize("saves", range(6))
def test_killed_while_saving(fd, monkeypatch, saves, writes):
    """A successor has what was saved last, or before that, at whichever write() its predecessor died."""
    log = EventLog(fd)
    for number in range(saves):
        log.record("driver", "died", "x" * 100 * (number % 3))
    log.notes["slots"] = {"3": True}
    pwrite, left = os.pwrite, [writes]

    def dies(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return pwrite(*args)

    monkeypatch.setattr(os, "pwrite", dies)
    with contextlib.suppress(KeyboardInterrupt):
        log.save()
    monkeypatch.undo()
    successor = EventLog(fd)
    assert len(successor.events) == saves
    assert successor.notes == ({"slots": {"3": True}} if writes == 2 else {})


def test_what_is_noted_ends_with_the_stack(fd):
    """Also for who dies before the first event."""
    log = EventLog(fd)
    log.next_incarnation("driver")
    log.notes["slots"] = {"3": True}
    log.begin()
    successor = EventLog(fd)
    assert (successor.notes, successor.before) == ({}, {"driver": 1})


def test_event_in_words():
    event = {
        "time": "2026-01-02T03:04:05.678+00:00",
        "component": "replica1",
        "what": "is back",
        "detail": "pid 7",
        "ms": 81.4,
    }
    assert describe(event) == "03:04:05.678 replica1 is back in 81 ms: pid 7"
    event |= {"what": "died", "detail": "exited with status 3", "again_s": 0.4}
    del event["ms"]
    assert describe(event) == "03:04:05.678 replica1 died: exited with status 3, again in 0.4 s"
