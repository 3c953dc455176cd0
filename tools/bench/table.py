"""`neat bench table`: the servers and loads that say how a stack does, each in turns with Linux, in one run.

Each row is one of `neat bench http` or `neat bench bulk`; what they share, stacks and servers, comes up once.
"""

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import bulk, http, load
from neat.tools.bench.http import UNLIMITED, HttpSettings, Point
from neat.tools.bench.processes import SideError
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import Side, World, linux_world, neat_worlds
from neat.tools.stack import StackError

SIZE = 20
# Seconds that a run of a client takes beyond its own, that a row needs to begin, and that a stack or a server
# takes to come up and to end.
RUN_S, WARM_UP_S, WORLD_S = 0.1, 1.2, 0.5
# How much longer all may take than is planned, before what is left is left out: so many times, and seconds on
# top, as a busy machine brings a stack and a server up in seconds.
PATIENCE, PATIENCE_S = 1.3, 60.0


class Work(NamedTuple):
    """A row. `direction`: of iperf3, as the server sees it; else the rest says what the client asks for."""

    server: str
    connections: int = 32
    replicas: int = 1
    requests_per_connection: int = UNLIMITED
    stolen: int = 0  # percent
    direction: str = ""

    def __str__(self) -> str:
        parts = ["redis GET" if self.server == "redis" else self.server]
        if self.direction:
            parts.append({"send": "the server sends", "receive": "the server receives"}[self.direction])
        else:
            parts.append("1 connection" if self.connections == 1 else f"{self.connections} connections")
        if self.requests_per_connection == 1:
            parts.append("one request each")
        if self.replicas > 1:
            parts.append(f"{self.replicas} replicas")
        if self.stolen:
            parts.append(f"{self.stolen} % stolen")
        return ", ".join(parts)

    @property
    def client(self) -> str:
        return {"redis": "redis-benchmark", "iperf3": "iperf3"}.get(self.server, "wrk")


ROWS = (
    *(Work("lighttpd", count, replicas) for replicas in (1, 2) for count in (1, 8, 32, 128)),
    Work("lighttpd", requests_per_connection=1),
    Work("nginx"),
    Work("redis"),
    Work("iperf3", direction="send"),
    Work("iperf3", direction="receive"),
    Work("lighttpd", stolen=20),
)


class TableSettings(NamedTuple):
    rounds: int = 8
    seconds: int = 2  # of each round
    datapaths: Sequence[str] = ()  # without any: one stack, as it is by default
    stack: Sequence[str] = ()  # settings of the stacks, as key=value
    only: Sequence[str] = ()  # rows that have one of these texts in their names


def table(
    settings: TableSettings, progress: Callable[[str], None], say: Callable[[str], None]
) -> dict[str, Any]:
    """The whole table, as the JSON that `-j` prints; `say` hears how long it will take, and of each row when
    it is there. A row that fails is in "left_out", like one whose programs are missing."""
    load.need("curl", "nsenter", "unshare", "ip")
    rows, left_out = wanted(settings)
    planned = sum(planned_s(work, settings) for work in rows)
    most = planned * PATIENCE + PATIENCE_S
    say(
        f"{len(rows)} rows, {sides_of(settings)} sides, {settings.rounds} rounds of {settings.seconds} s: "
        f"about {minutes(planned)}, at most {minutes(most)}"
    )
    for row in left_out:
        say(f"{row['work']}: {row['why']}")
    ends = time.monotonic() + most
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="neat-site-") as name, linux_world() as linux:
        site = Path(name)
        digest = http.write_random(site / f"{SIZE}.bin", SIZE)
        for work, sides in each_row(rows, settings, site, linux):
            if time.monotonic() + planned_s(work, settings) > ends:
                left_out.append({"work": str(work), "why": "no time was left", "failed": True})
                continue
            try:
                found = measure(work, sides, settings, digest, progress)
            except (load.LoadError, SideError, StackError) as error:
                left_out.append({"work": str(work), "why": str(error), "failed": True})
                say(f"{work}: {error}")
                continue
            points += found
            for row in found:
                say(
                    f"{work}, {row['datapath']}: {row['ratio']} of Linux, {row['cpu_ratio']} for a CPU second"
                )
    order = [str(work) for work in ROWS]
    points.sort(key=lambda row: order.index(row["work"]))
    return {"bench": "table", "settings": settings._asdict(), "points": points, "left_out": left_out}


def wanted(settings: TableSettings) -> tuple[list[Work], list[dict[str, Any]]]:
    """The rows that can be measured, and those that would be if their programs were there."""
    rows, left_out = [], []
    for work in ROWS:
        if settings.only and not any(text in str(work) for text in settings.only):
            continue
        missing = load.missing(work.client, SERVERS[work.server].program)
        if missing:
            left_out.append({"work": str(work), "why": missing, "failed": False})
        else:
            rows.append(work)
    return rows, left_out


def sides_of(settings: TableSettings) -> int:
    return max(len(settings.datapaths), 1) + 1


def planned_s(work: Work, settings: TableSettings) -> float:
    """Seconds that a row takes, its part of what comes up for it included."""
    warm_up = 0.0 if work.direction else WARM_UP_S
    return sides_of(settings) * (settings.rounds * (settings.seconds + RUN_S) + warm_up + WORLD_S)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def each_row(
    rows: Sequence[Work], settings: TableSettings, site: Path, linux: World
) -> Iterator[tuple[Work, list[Side]]]:
    """Rows with the sides that serve them: one stack for each number of replicas (and datapath), and in it
    one server after the other."""
    by_replicas = sorted(rows, key=lambda work: (work.replicas, work.server))
    for replicas, group in itertools.groupby(by_replicas, key=lambda work: work.replicas):
        with neat_worlds(replicas, settings.datapaths, settings.stack) as ours:
            for name, some in itertools.groupby(group, key=lambda work: work.server):
                served = list(some)
                plan = Plan(site, "", connections=max(work.connections for work in served))
                with contextlib.ExitStack() as stack:
                    worlds = [*ours, linux]
                    sides = [stack.enter_context(world.serve(SERVERS[name], plan)) for world in worlds]
                    for work in served:
                        yield work, sides


def measure(
    work: Work, sides: Sequence[Side], settings: TableSettings, digest: str, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The row, once for each side that is not Linux."""

    def told(text: str) -> None:
        progress(f"{work}: {text}")

    if work.direction:
        streams = bulk.BulkSettings(work.server, 0, settings.seconds, settings.rounds, work.replicas)
        found = bulk.compare(sides, streams, work.direction, told)
    else:
        requests = HttpSettings(
            server=work.server,
            client=work.client,
            duration=settings.seconds,
            rounds=settings.rounds,
            stolen=work.stolen,
        )
        point = Point(work.replicas, work.requests_per_connection, SIZE, work.connections)
        found = http.compare(sides, requests, point, digest, told)
    return [{"work": str(work), "stolen": work.stolen, **row} for row in found]
