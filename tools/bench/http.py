"""`neat bench http`: requests a second, and what each of them costs, on NEaT and on Linux.

For each number of replicas a stack comes up, or one for each datapath, and for each number of requests a
connection a server on all sides; then every number of connections and every size is measured in turns.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.bench.compare import Round, ratio, run_rounds, versus
from neat.tools.bench.cpu import Meter, per_cpu_s, shares
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import Side, World, linux_world, neat_worlds
from neat.tools.bench.switches import Switches, costs_here
from neat.tools.bench.syscalls import FILE_CALLS, counting
from neat.tools.bench.thief import stealing

UNLIMITED = 0
# A run of httperf keeps up when it takes no longer than planned, but for a part and a moment: the last
# connection has yet to make its requests.
LATE, LATE_S = 0.1, 0.3
FIRST_OFFER = 2000.0
LEAST_OFFER = 50.0
# Requests of a client that counts them which tell how many fill the time.
PROBE_REQUESTS = 5000


class HttpSettings(NamedTuple):
    server: str = "demo"
    client: str = "wrk"
    connections: Sequence[int] = (32,)
    requests_per_connection: Sequence[int] = (UNLIMITED,)
    sizes: Sequence[int] = (20,)
    replicas: Sequence[int] = (1,)
    duration: int = 3
    rounds: int = 3
    threads: int = 1
    workers: int = 1
    rate: float = 0.0  # of httperf, connections a second; 0: search for the highest
    syscalls: bool = False
    switches: bool = False
    datapaths: Sequence[str] = ()  # without any: one stack, as it is by default
    stolen: int = 0  # percent of the processors that nobody here gets
    placements: Sequence[str] = ()  # likewise
    stack: Sequence[str] = ()  # settings of the stacks, as key=value


class Point(NamedTuple):
    """What differs between the rows of one comparison."""

    replicas: int
    requests_per_connection: int
    size: int
    connections: int = 32

    @property
    def file(self) -> str:
        return f"{self.size}.bin"


class Load(NamedTuple):
    """One run. `offer`: requests a second, in httperf's open loop. `requests`: in all, for a client that
    counts them instead of the time."""

    settings: HttpSettings
    point: Point
    offer: float = FIRST_OFFER
    requests: int = PROBE_REQUESTS


def check(settings: HttpSettings) -> None:
    """LoadError for what this server or client cannot do; a missing program is one line."""
    server = SERVERS[settings.server]
    load.need(settings.client, server.program, "curl", "nsenter", "unshare", "ip")
    if server.http == (settings.client == "redis-benchmark"):
        raise load.LoadError(f"{settings.client} does not speak to {settings.server}")
    limited = any(count > 1 for count in settings.requests_per_connection)
    if limited and settings.client != "httperf" and not server.limits:
        raise load.LoadError(
            f"{settings.server} does not count the requests of a connection: use --client httperf, or "
            "--requests-per-connection 1 or 0"
        )


def http(settings: HttpSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole comparison, as the JSON that `-j` prints."""
    check(settings)
    points = []
    with contextlib.ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        digests = {size: write_random(site / f"{size}.bin", size) for size in settings.sizes}
        linux = stack.enter_context(linux_world())
        for replicas in settings.replicas:
            with neat_worlds(replicas, settings.datapaths, settings.stack, settings.placements) as ours:
                for count in settings.requests_per_connection:
                    with serving([*ours, linux], settings, site, count) as sides:
                        for connections in settings.connections:
                            for size in settings.sizes:
                                point = Point(replicas, count, size, connections)
                                points += compare(sides, settings, point, digests[size], progress)
    result = {"bench": "http", "settings": settings._asdict(), "points": points}
    return result | {"switch_us": costs_here()} if settings.switches else result


@contextlib.contextmanager
def serving(
    worlds: Sequence[World], settings: HttpSettings, site: Path, requests_per_connection: int
) -> Iterator[list[Side]]:
    """The server in all worlds at once."""
    # httperf closes by itself, and for one request a connection wrk is told to say so.
    limited = requests_per_connection > 1 and settings.client == "wrk"
    limit = requests_per_connection if limited else UNLIMITED
    plan = Plan(site, "", limit, max(settings.connections), settings.workers)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(world.serve(SERVERS[settings.server], plan)) for world in worlds]


def write_random(path: Path, size: int) -> str:
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while size > 0:
            block = os.urandom(min(size, 1 << 20))
            digest.update(block)
            file.write(block)
            size -= len(block)
    return digest.hexdigest()


def compare(
    sides: Sequence[Side],
    settings: HttpSettings,
    point: Point,
    digest: str,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """All sides in turns; a row for each that is not Linux."""
    what = f"{point.size} B, {point.connections} connections, {point.replicas} replicas"
    loads = {}
    for side in sides:
        progress(f"{what}: warming up {side.name}")
        loads[side.name] = warm_up(side, Load(settings, point), digest)
    runs = {side.name: lambda side=side: measure(side, loads[side.name]) for side in sides}
    results = run_rounds(runs, settings.rounds, lambda text: progress(f"{what}: {text}"))
    calls = {}
    if settings.syscalls:
        progress(f"{what}: counting system calls")
        for side in sides:
            work = loads[side.name]._replace(offer=results[side.name][0]["offered_per_s"])
            calls[side.name] = syscalls(side, work)
    rows = []
    for side in sides:
        if side.name == "linux":
            continue
        row = {**point._asdict(), "datapath": side.datapath, "placement": side.placement}
        row |= versus(results, side.name, "requests_per_s", "requests_per_cpu_s")
        row["latency_ratio"] = {
            key: ratio(row["neat"][key], row["linux"][key]) for key in ("latency_p50_us", "latency_p99_us")
        }
        if settings.syscalls:
            row["syscalls"] = shares_of_calls(calls[side.name], calls["linux"])
        rows.append(row)
    return rows


def warm_up(side: Side, work: Load, digest: str) -> Load:
    """One short run, after every byte was compared; the load with as many requests as fill its time."""
    settings = work.settings
    if SERVERS[settings.server].http:
        load.verify(side.inside, f"http://{side.address}/{work.point.file}", digest)
    else:
        redis(side, work._replace(requests=1), "set")
    work = work._replace(settings=settings._replace(duration=1))
    if settings.client == "httperf" and work.point.requests_per_connection != UNLIMITED:
        return Load(settings, work.point, measure(side, work)["offered_per_s"])
    result = run_client(side, work)
    requests = max(1, round(result.requests / result.seconds * settings.duration))
    return Load(settings, work.point, requests=requests)


def syscalls(side: Side, work: Load) -> dict[str, Any]:
    """System calls of the server for each request, in a run that is not counted for anything else."""
    with counting(side.pids()["server"]) as counts:
        result = run_client(side, work)
    requests = max(result.requests, 1)
    by_name = {name: round(count / requests, 5) for name, count in counts.by_name.items()}
    return {
        "counted_by": counts.method,
        "requests": result.requests,
        "per_request": round(counts.total / requests, 5),
        "without_files": round(
            (counts.total - sum(counts.by_name.get(name, 0) for name in FILE_CALLS)) / requests, 5
        ),
        "by_name": dict(sorted(by_name.items(), key=lambda item: -item[1])),
    }


def shares_of_calls(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    return {
        "neat": ours,
        "linux": theirs,
        "share": ratio(ours["per_request"], theirs["per_request"]),
        "share_without_files": ratio(ours["without_files"], theirs["without_files"]),
    }


def measure(side: Side, work: Load) -> Round:
    """One round of one side: one run of the client, or with httperf the fastest that it keeps up with."""
    settings, point = work.settings, work.point
    calls = point.requests_per_connection
    if settings.client != "httperf" or calls == UNLIMITED:
        return measure_once(side, work)
    if settings.rate:
        return measure_once(side, work._replace(offer=settings.rate * calls))
    return highest(lambda offer: measure_once(side, work._replace(offer=offer)), work.offer)


def highest(run: Callable[[float], Round], first: float) -> Round:
    """The fastest of the rounds that kept up with what was offered: offers double until one does not, then
    halve the interval that is left. LoadError when nothing keeps up."""
    best: Round | None = None
    low, high, offer = 0.0, 0.0, first
    while offer >= LEAST_OFFER:
        result = run(offer)
        planned = result["requests"] / offer
        kept_up = result["errors"] == 0 and result["seconds"] <= planned * (1 + LATE) + LATE_S
        if kept_up:
            low = offer
            if best is None or result["requests_per_s"] > best["requests_per_s"]:
                best = result
        else:
            high = offer
        if low and high and high / low < 1.1:
            break
        offer = (low + high) / 2 if low and high else offer * (2 if kept_up else 0.5)
    if best is None:
        raise load.LoadError(f"httperf: not even {LEAST_OFFER:g} requests/s without errors")
    return best


def measure_once(side: Side, work: Load) -> Round:
    """One run of the client. With `stolen`, the time that is taken away is not the machine's."""
    settings = work.settings
    # A client that counts requests instead of time may take longer; then the last of them are undisturbed.
    with stealing(settings.stolen, settings.duration + load.GRACE_S) as thieves:
        switches = Switches(side) if settings.switches else None
        meter = Meter(side.pids(), thieves)
        meter.start()
        result = run_client(side, work)
        used = meter.stop() | {"client": result.client_cpu_s}
    requests = max(result.requests, 1)
    found = {
        "requests": result.requests,
        "seconds": round(result.seconds, 4),
        "requests_per_s": round(result.requests / result.seconds, 1),
        "requests_per_cpu_s": per_cpu_s(result.requests, used),
        "steal": meter.steal,
        "errors": result.errors,
        "offered_per_s": work.offer,
        "latency_p50_us": round(result.latency_p50_s * 1e6, 1),
        "latency_p99_us": round(result.latency_p99_s * 1e6, 1),
        "cpu_us_per_request": {name: round(seconds / requests * 1e6, 3) for name, seconds in used.items()},
        "cpu_share": shares(used),
    }
    if switches is not None:
        found["switches_per_request"] = switches.per(result.requests)
    side.rest()
    return found


def run_client(side: Side, work: Load) -> load.HttpResult:
    settings, point = work.settings, work.point
    if settings.client == "wrk":
        return load.wrk(
            side.inside,
            f"http://{side.address}:80/{point.file}",  # it would look `http` up in /etc/services
            connections=point.connections,
            seconds=settings.duration,
            keep_alive=point.requests_per_connection != 1,
            threads=min(settings.threads, point.connections),
        )
    return httperf(side, work) if settings.client == "httperf" else redis(side, work, "get")


def httperf(side: Side, work: Load) -> load.HttpResult:
    """Open loop, over as many connections as the offer takes. Without a number of requests a connection there
    is no rate to offer: then all connections at once share the work."""
    settings, calls = work.settings, work.point.requests_per_connection
    if calls == UNLIMITED:
        rate = float(load.SLOWEST_CALLS_PER_S)
        connections, calls = work.point.connections, -(-work.requests // work.point.connections)
    else:
        rate = work.offer / calls
        connections = max(1, round(rate * settings.duration))
    return load.httperf(
        side.inside, side.address, 80, f"/{work.point.file}", connections=connections, calls=calls, rate=rate
    )


def redis(side: Side, work: Load, test: str) -> load.HttpResult:
    settings, point = work.settings, work.point
    return load.redis_benchmark(
        side.inside,
        side.address,
        SERVERS["redis"].port,
        connections=point.connections,
        requests=work.requests,
        size=point.size,
        keep_alive=point.requests_per_connection != 1,
        threads=settings.threads,
        test=test,
    )
