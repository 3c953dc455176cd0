"""Keys by which neighbouring ports spread; and that not every key is one."""

import os

import pytest

from neat.drivers.pysteer import toeplitz
from neat.shm import rss_key
from neat.shm.steering import ENTRIES

NEIGHBOURS = 128
ENDS = {"IPv4": ("10.77.0.1", "10.77.0.2"), "IPv6": ("2001:db8::1", "2001:db8::2")}


def entries(key, ends, ports):
    return {toeplitz(key, *ends, (port, 80)) % ENTRIES for port in ports}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("step", [1, 2])
def test_neighbours_meet_every_entry(ends, step):
    first = 200 * NEIGHBOURS
    for _ in range(20):
        key = rss_key.draw()
        assert len(key) == rss_key.KEY_BYTES
        found = entries(key, ends, range(first, first + step * NEIGHBOURS, step))
        assert len(found) == NEIGHBOURS == ENTRIES


@pytest.mark.slow
def test_a_key_is_refused_when_and_only_when_neighbours_crowd():
    """Few keys are good ones: 60 at least, and more until there was one."""
    seen, keys = set(), 0
    while seen != {True, False} or keys < 60:
        keys += 1
        key = os.urandom(rss_key.KEY_BYTES)
        spread = all(
            len(entries(key, ends, range(0, step * NEIGHBOURS, step))) == NEIGHBOURS
            for ends in ENDS.values()
            for step in (1, 2)
        )
        assert rss_key.spreads(key) == spread
        seen.add(spread)


def test_keys_differ():
    assert len({rss_key.draw() for _ in range(20)}) == 20


@pytest.mark.parametrize(("rows", "rank"), [([], 0), ([0], 0), ([5, 5], 1), ([1, 2, 3], 2), ([6, 3, 1], 3)])
def test_rank(rows, rank):
    assert rss_key.rank(rows) == rank
