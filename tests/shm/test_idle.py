"""What a loop without work does before it sleeps: a clock that the test turns."""

import pytest

from neat.shm.testing import ALONE_NS, YIELDS, IdleLoop

SPIN = 50_000
BEGIN = 1_000_000_000


@pytest.fixture
def loop():
    """One that had work at BEGIN."""
    loop = IdleLoop(SPIN)
    loop.worked(BEGIN)
    return loop


def yields(loop, step, limit=1000):
    """How often it yields in turns of `step` ns, until it would sleep."""
    count = 0
    while count < limit and loop.yields(BEGIN + (count + 1) * step):
        count += 1
    return count


def test_without_work_it_sleeps_at_once():
    loop = IdleLoop(SPIN)
    assert not loop.yields(BEGIN)
    assert not loop.yields(BEGIN + 1)


def test_alone_it_looks_for_as_long_as_it_may_spin(loop):
    step = ALONE_NS // 2
    assert yields(loop, step) == SPIN // step


def test_where_others_run_it_looks_a_few_times(loop):
    assert yields(loop, ALONE_NS) == YIELDS


def test_others_that_take_long_are_not_held_against_it(loop):
    """A turn that others made longer than it may spin is one of the few, too."""
    assert yields(loop, 2 * SPIN) == YIELDS


def test_with_no_time_to_spin_it_gives_way_a_few_times(loop):
    assert IdleLoop(0).yields(BEGIN) is False
    loop = IdleLoop(0)
    loop.worked(BEGIN)
    assert yields(loop, ALONE_NS) == YIELDS


def test_work_begins_anew(loop):
    assert yields(loop, ALONE_NS) == YIELDS
    loop.worked(2 * BEGIN)
    assert loop.yields(2 * BEGIN + ALONE_NS)
