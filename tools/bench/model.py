"""`neat bench model`: throughput against the number of replicas where there are cores to spare, from what a
request costs each component here.

Operational analysis: a component that takes D seconds of a processor for each request, and has n processors,
serves no more than n / D requests a second (the utilisation law), and all together no more than the scarcest
of them (the bottleneck law; Denning and Buzen, 1978). What two processors measure with one and with two
replicas says how far that is to be believed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from neat.tools.bench.http import UNLIMITED, HttpSettings, http
from neat.tools.bench.limit import limit
from neat.tools.bench.load import LoadError

# What part of the machine's time may be nobody's here before the costs are not to be trusted.
DISTURBED = 0.15
# The bytes of a request for 20 B and of its answer, with all headers, and how often each byte is copied
# between the two programs: into the kernel, out of the device, into the socket's ring, out of it.
WIRE_BYTES, COPIES = 500, 4

ASSUMPTIONS = (
    "Each replica has a processor of its own, and so has the driver where it moves the frames. With cores to "
    "spare, servers and clients have as many as it takes; else what is left, divided as they need it.",
    "A request costs each component what it costs here, where they share two processors and give way to "
    "each other; on processors of their own they would switch less, and their caches would be their own.",
    "Clients are on the same machine, in the paper they are not: who sends does much of the receiver's work "
    "here, on Linux also the client for the server, so that one end's costs alone cannot be compared.",
    "The device is serial for as long as explains, as waiting for one lock, what two queues of one device "
    "cost more than two devices (mean value analysis of two customers: s = sqrt(difference x cost)).",
    f"A request moves {WIRE_BYTES} bytes, {COPIES} times, and no cache helps; all processors together copy "
    "as much as they do here.",
    "Linux's own stack scales without loss: twice the processors serve twice as many.",
)


class Published(NamedTuple):
    """A number of the paper's text; the points between stand in its pictures only."""

    source: str
    machine: str
    what: str
    replicas: int | None
    requests_per_s: float


AMD, XEON = "12 cores, AMD Opteron 6168", "8 cores, 16 threads, Xeon E5520"
PUBLISHED = (
    Published("NEaT §6.3, Fig. 7", AMD, "NEaT 3x, 6 lighttpd", 3, 302e3),
    Published("NEaT §6.1 and 6.3, Table 1", AMD, "Linux, 12 lighttpd", None, 224e3),
    Published("NEaT §6.4, Fig. 9", XEON, "Multi 2x, 8 lighttpd", 2, 322e3),
    Published("NEaT §6.4, Fig. 11", XEON, "NEaT 4x", 4, 372e3),
    Published("NEaT §6.4", XEON, "Linux, 16 lighttpd", None, 328e3),
)
# Table 2: the driver of three replicas is busy for 97 % of 242,000 requests a second.
PUBLISHED_DRIVER_US = 0.97 / 242e3 * 1e6
MACHINES = (12, 8)


class ModelSettings(NamedTuple):
    server: str = "lighttpd"
    connections: int = 128
    rounds: int = 3
    seconds: int = 2  # of each round
    datapaths: Sequence[str] = ("queues", "driver")
    most: int = 16  # replicas


class Costs(NamedTuple):
    """Processor time of a request, in microseconds."""

    replica: float
    driver: float
    server: float
    client: float
    rest: float  # everybody else's, interrupts included

    @property
    def machine(self) -> float:
        return sum(self)


class Limits(NamedTuple):
    """What no number of processors changes, in requests a second; infinite where there is none."""

    device: float
    memory: float


def model(
    settings: ModelSettings, known: Mapping[str, Any] | None, progress: Callable[[str], None]
) -> dict[str, Any]:
    """The result as the JSON that `-j` prints. known: what `neat bench http`, `table` or `model` has printed,
    whose costs are used; without it they are measured. LoadError when it has no costs."""
    known = known or {}
    points = known.get("measured", known).get("points") or measure(settings, progress)
    device = known.get("measured", {}).get("limit") or limit(1, progress)
    rows = kept(points)
    limits = limits_of(device)
    cores = device["memory"]["processors"]
    result: dict[str, Any] = {"bench": "model", "settings": settings._asdict(), "cores": cores}
    result["limits"] = {
        key: value if math.isfinite(value) else None for key, value in limits._asdict().items()
    }
    result["stream_gbit_per_s"] = round(device["memory"]["all_gb_per_s"] / COPIES * 8, 1)
    result["assumptions"] = list(ASSUMPTIONS)
    result["published"] = [number._asdict() for number in PUBLISHED]
    result["datapaths"], result["machines"] = {}, {str(count): {} for count in MACHINES}
    for datapath, by_replicas in rows.items():
        first = by_replicas[min(by_replicas)]
        costs, theirs = costs_of(first["neat"]), costs_of(first["linux"])
        curve = [bottleneck(costs, replicas, limits) for replicas in range(1, settings.most + 1)]
        result["datapaths"][datapath] = {
            "costs_us": costs._asdict(),
            "curve": [
                {"replicas": n, "requests_per_s": x, "limit": what} for n, (x, what) in enumerate(curve, 1)
            ],
            "check": [check(costs, limits, cores, row) for _, row in sorted(by_replicas.items())],
        }
        result["linux_us"] = theirs._asdict()
        shares = (side.rest / side.machine for side in (costs, theirs) if side.machine)
        result["others"] = round(max(result.get("others", 0.0), *shares), 3)
        for count in MACHINES:
            result["machines"][str(count)][datapath] = on_machine(costs, limits, count, datapath)
            result["machines"][str(count)]["linux"] = round(count / theirs.machine * 1e6)
    return result | {"measured": {"points": points, "limit": device}}


def measure(settings: ModelSettings, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    run = HttpSettings(
        server=settings.server,
        connections=(settings.connections,),
        replicas=(1, 2),
        duration=settings.seconds,
        rounds=settings.rounds,
        datapaths=settings.datapaths,
    )
    return http(run, progress)["points"]


def kept(points: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Datapath -> replicas -> the row with the most connections, of those whose connections are kept."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for point in points:
        if point.get("requests_per_connection") != UNLIMITED or point.get("stolen"):
            continue
        rows = found.setdefault(point["datapath"], {})
        before = rows.get(point["replicas"])
        if before is None or before["connections"] < point["connections"]:
            rows[point["replicas"]] = point
    if not found:
        raise LoadError("there is no row with kept connections whose costs a model could use")
    return found


def costs_of(side: Mapping[str, Any]) -> Costs:
    """Of a round or of medians: what all replicas take is what one takes for each request that it serves."""
    used = side["cpu_us_per_request"]
    machine, server, client = (used[name] for name in ("machine", "server", "client"))
    driver = used.get("driver", 0.0)
    replica = sum(value for name, value in used.items() if name.startswith("replica"))
    rest = max(0.0, machine - driver - server - client - replica)
    return Costs(replica, driver, server, client, round(rest, 3))


def limits_of(device: Mapping[str, Any]) -> Limits:
    """From `neat bench limit`. A request is read from the device, and its answer written."""
    shared = device["contention"]
    more = max(0.0, shared["queues_ns"] - shared["devices_ns"])
    serial_ns = 2 * math.sqrt(more * shared["alone_ns"])
    memory = device["memory"]["all_gb_per_s"] * 1e9 / (WIRE_BYTES * COPIES)
    return Limits(round(1e9 / serial_ns) if serial_ns else math.inf, round(memory))


def bottleneck(costs: Costs, replicas: int, limits: Limits) -> tuple[int, str]:
    """(requests a second, what allows no more of them) where there are cores to spare."""
    bounds = {
        "replicas": replicas / costs.replica * 1e6 if costs.replica else math.inf,
        "driver": 1e6 / costs.driver if costs.driver else math.inf,
        "device": limits.device,
        "memory": limits.memory,
    }
    what = min(bounds, key=bounds.__getitem__)
    return round(bounds[what]), what


def on_machine(costs: Costs, limits: Limits, cores: int, datapath: str) -> list[dict[str, Any]]:
    """The same where servers and clients have what is left of so many processors."""
    others = costs.server + costs.client + costs.rest + (0.0 if datapath == "driver" else costs.driver)
    found = []
    for replicas in range(1, cores):
        left = cores - (datapath == "driver") - replicas
        if left < 1:
            break
        most, what = bottleneck(costs, replicas, limits)
        served = round(left / others * 1e6)
        if served < most:
            most, what = served, "programs"
        found.append({"replicas": replicas, "requests_per_s": most, "limit": what})
    return found


def fullest(costs: Costs, replicas: int, cores: int) -> float:
    """Microseconds of a request that the fullest of so few processors has, where processes share them as well
    as may be: a process is on one at a time. Longest first, each to the emptiest, which is at most a third
    more than the best (Graham, 1969). The rest falls on all alike."""
    loads = [costs.rest / cores] * cores
    pieces = [costs.replica / replicas] * replicas + [costs.driver, costs.server, costs.client]
    for piece in sorted(pieces, reverse=True):
        loads[loads.index(min(loads))] += piece
    return max(loads)


def check(costs: Costs, limits: Limits, cores: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says of this machine, where all share its processors, beside what was measured."""
    replicas = row["replicas"]
    expected = min(round(1e6 / fullest(costs, replicas, cores)), bottleneck(costs, replicas, limits)[0])
    measured = row["neat"]["requests_per_s"]
    error = round(expected / measured - 1, 3)
    return {"replicas": replicas, "model": expected, "measured": measured, "error": error}
