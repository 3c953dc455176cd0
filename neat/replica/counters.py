# ruff: noqa: F821 - names without an import come from the sibling .pxd
"""Names of all counters in a replica's board page: the engine's, then the process's own."""

from neat.stack.counters import GAUGES as STACK_GAUGES
from neat.stack.counters import NAMES

GAUGES = STACK_GAUGES | {"listeners", "udp_sockets", "channels", "descriptors"}


def names():
    """Name -> index in the board page."""
    found = {name: index for index, name in enumerate(NAMES)}
    for i in range(REPLICA_COUNTERS):
        found[ReplicaCounter(i).name.removeprefix("COUNT_").lower()] = REPLICA_COUNTERS_BASE + i
    return found
