"""The names of a replica's counters."""

from neat.replica import counters
from neat.stack.counters import NAMES


def test_every_reason_to_drop_is_counted():
    assert set(counters.names()) >= counters.DROPS


def test_own_counters_lie_behind_the_engines():
    own = {name: index for name, index in counters.names().items() if name not in NAMES}
    assert min(own.values()) >= len(NAMES)
    assert max(own.values()) < 384
    assert len(set(counters.names().values())) == len(counters.names())
