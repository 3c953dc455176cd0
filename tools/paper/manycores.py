"""More cores than there are, from what a request costs each component here.

The same laws as `neat bench model` (Denning and Buzen, 1978), with the number of server processes as in the
paper's figures: replicas, servers and driver each serve no more than their cores divided by their cost."""

import math
from collections.abc import Mapping
from typing import NamedTuple

# Of the paper's machine: the operating system's core and that of the syscall server (§6.3).
SET_ASIDE = 2


class Costs(NamedTuple):
    """Processor time of a request, in microseconds."""

    replica: float
    driver: float
    server: float
    client: float
    rest: float


def costs_of(used: Mapping[str, float]) -> Costs:
    """From `cpu_us_per_request`. What all replicas take is what one takes for each request that it serves."""
    driver, server, client = (used.get(name, 0.0) for name in ("driver", "server", "client"))
    replica = sum(value for name, value in used.items() if name.startswith("replica"))
    rest = max(0.0, used["machine"] - driver - server - client - replica)
    return Costs(replica, driver, server, client, rest)


def expected(costs: Costs, replicas: int, servers: int, datapath: str, *, shared: int | None = None) -> float:
    """Requests a second: where each has a core of its own and the client another machine; or, `shared`, where
    all, the client too, share so many cores. replicas 0: Linux."""
    bounds = [servers / costs.server if costs.server else math.inf]
    if replicas and costs.replica:
        bounds.append(replicas / costs.replica)
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
    pieces = [costs.replica / (replicas or 1)] * replicas + [costs.server / servers] * servers
    for piece in sorted([*pieces, costs.driver, costs.client], reverse=True):
        loads[loads.index(min(loads))] += piece
    return max(loads)


def no_more_than(replicas: int, datapath: str, cores: int) -> int:
    """How many servers have a core of their own. Linux sets none aside."""
    if not replicas:
        return cores
    return max(cores - SET_ASIDE - replicas - (datapath == "driver"), 0)
