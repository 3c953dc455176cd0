"""`neat bench spent`: where a component's time goes under some loads: asleep, in the kernel, in turns that
found nothing to do, at work.

The components themselves count how long their turns took that found something (`work_ns`); all else of their
processor time is looking for work, and going to sleep and waking up.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.bench.cpu import TICK_S, machine, process_s
from neat.tools.bench.http import HttpSettings, Load, Point, run_client, write_random
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import Side, neat_worlds

SIZE, CALLS = 20, 100
FLAT_OUT = 0


class SpentSettings(NamedTuple):
    server: str = "lighttpd"
    replicas: int = 3
    rates: Sequence[int] = (3000, 15000, FLAT_OUT)  # requests a second
    connections: int = 128  # flat out
    seconds: int = 3
    datapaths: Sequence[str] = ("driver",)
    stack: Sequence[str] = ()


class Used(NamedTuple):
    """Of a process, in seconds, so far."""

    cpu: float
    user: float
    system: float
    work: float | None  # None: it does not count that


def spent(settings: SpentSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The result as the JSON that `-j` prints."""
    server = SERVERS[settings.server]
    load.need("httperf", "wrk", "curl", server.program, "nsenter", "unshare", "ip")
    points = []
    with contextlib.ExitStack() as ends:
        site = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        digest = write_random(site / f"{SIZE}.bin", SIZE)
        worlds = ends.enter_context(neat_worlds(settings.replicas, settings.datapaths, settings.stack))
        plan = Plan(site, "", connections=1024)
        for side in [ends.enter_context(world.serve(server, plan)) for world in worlds]:
            load.verify(side.inside, f"http://{side.address}/{SIZE}.bin", digest)
            for rate in settings.rates:
                progress(f"{side.datapath}: {rate or 'as many as go'} requests/s")
                points.append(measure(side, settings, rate))
    return {"bench": "spent", "settings": settings._asdict(), "points": points}


def measure(side: Side, settings: SpentSettings, rate: int) -> dict[str, Any]:
    """One load; a row for driver and replicas each."""
    client = "wrk" if rate == FLAT_OUT else "httperf"
    run = HttpSettings(client=client, connections=(settings.connections,), duration=settings.seconds)
    calls = 0 if rate == FLAT_OUT else CALLS
    work = Load(run, Point(settings.replicas, calls, SIZE, settings.connections), float(rate))
    before, began, then = used_by(side), machine(), time.monotonic()
    result = run_client(side, work)
    seconds = time.monotonic() - then
    meanwhile, after = machine().since(began), used_by(side)
    side.rest()
    return {
        "datapath": side.datapath,
        "asked_per_s": rate,
        "requests_per_s": round(result.requests / result.seconds, 1),
        "errors": result.errors,
        "steal": meanwhile.steal,
        "components": {name: shares(before[name], after[name], seconds) for name in before if name in after},
    }


def used_by(side: Side) -> dict[str, Used]:
    counters = side.counters()
    found = {}
    for name, pids in side.pids().items():
        if name == "driver" or name.startswith("replica"):
            found[name] = used(pids[0], counters.get(name, {}))
    return found


def used(pid: int, counters: Mapping[str, int]) -> Used:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise load.LoadError(f"process {pid} ended meanwhile") from None
    work = counters.get("work_ns")
    return Used(
        process_s(pid),
        int(fields[11]) * TICK_S,
        int(fields[12]) * TICK_S,
        None if work is None else work / 1e9,
    )


def shares(before: Used, after: Used, seconds: float) -> dict[str, float | None]:
    """`cpu`: of a processor. The rest are parts of that: `kernel`, in which system calls of its work are, too
    (they read and write the device), `working` in turns that had something to do, and `looking`, all else.

    A turn is measured by the clock; where others interrupted it, that counts as work, so it is cut at 1."""
    cpu = after.cpu - before.cpu
    user, system = after.user - before.user, after.system - before.system
    working = None
    if after.work is not None and before.work is not None and cpu > 0:
        working = min(max(after.work - before.work, 0.0) / cpu, 1.0)
    return {
        "cpu": round(cpu / seconds, 4),
        "kernel": round(system / (user + system), 4) if user + system > 0 else 0.0,
        "working": None if working is None else round(working, 4),
        "looking": None if working is None else round(1 - working, 4),
    }
