"""More cores than there are, from what a request costs each component here.

The same laws as `neat bench model` (Denning and Buzen, 1978), with the number of server processes as in the
paper's figures: replicas, servers and driver each serve no more than their cores divided by their cost."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

# Of the paper's machine: the operating system's core and that of the syscall server (§6.3).
SET_ASIDE = 2


class Costs(NamedTuple):
    """Processor time of a request, in microseconds."""

    replica: float  # all its processes
    driver: float
    server: float
    client: float
    rest: float
    part: float = 0.0  # of those the one that takes most; 0: there is one only

    @property
    def slowest(self) -> float:
        return self.part or self.replica


def costs_of(used: Mapping[str, float]) -> Costs:
    """From `cpu_us_per_request`. What all replicas take is what one takes for each request that it serves.
    The processes of a multi-component one are called `replica0`, `replica0.ip`, `replica0.udp`."""
    driver, server, client = (used.get(name, 0.0) for name in ("driver", "server", "client"))
    parts: Counter[str] = Counter()
    for name, value in used.items():
        if name.startswith("replica"):
            parts[name.partition(".")[2]] += value  # type: ignore[assignment]
    replica = float(sum(parts.values()))
    rest = max(0.0, used["machine"] - driver - server - client - replica)
    return Costs(replica, driver, server, client, rest, max(parts.values()) if len(parts) > 1 else 0.0)


def expected(costs: Costs, replicas: int, servers: int, datapath: str, *, shared: int | None = None) -> float:
    """Requests a second: where each has a core of its own and the client another machine; or, `shared`, where
    all, the client too, share so many cores. replicas 0: Linux."""
    bounds = [servers / costs.server if costs.server else math.inf]
    if replicas and costs.slowest:
        bounds.append(replicas / costs.slowest)
    if datapath == "driver" and costs.driver:
        bounds.append(1 / costs.driver)
    if shared is not None:
        bounds.append(1 / fullest(costs, replicas, servers, shared))
        bounds.append(1 / costs.client if costs.client else math.inf)
    return min(bounds) * 1e6


def fullest(costs: Costs, replicas: int, servers: int, cores: int) -> float:
    """Microseconds of a request on the fullest of so few cores, shared as well as may be: longest first, each
    to the emptiest (Graham, 1969). The rest falls on all alike."""
    loads = [costs.rest / cores] * cores
    of_one = [piece / (replicas or 1) for piece in (costs.slowest, costs.replica - costs.slowest)]
    pieces = of_one * replicas + [costs.server / servers] * servers
    for piece in sorted([*pieces, costs.driver, costs.client], reverse=True):
        loads[loads.index(min(loads))] += piece
    return max(loads)


def no_more_than(replicas: int, datapath: str, cores: int, multi: bool = False) -> int:
    """How many servers have a core of their own. Linux sets none aside; a multi-component replica has two, as
    in the paper: TCP, and IP."""
    if not replicas:
        return cores
    return max(cores - SET_ASIDE - replicas * (1 + multi) - (datapath == "driver"), 0)
