"""`neat bench bulk`: one stream of bytes, in Gbit/s, on both sides: a download, or iperf3 both ways."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.bench.compare import Round, run_rounds, versus
from neat.tools.bench.cpu import Meter, per_cpu_s, shares
from neat.tools.bench.http import write_random
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import Side, World, linux_world, neat_worlds

FILE = "bulk.bin"


class BulkSettings(NamedTuple):
    server: str = "demo"
    megabytes: int = 512
    seconds: int = 3  # of each run of iperf3
    rounds: int = 3
    replicas: int = 1
    datapaths: Sequence[str] = ()
    stack: Sequence[str] = ()  # settings of the stacks, as key=value


def bulk(settings: BulkSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole comparison, as the JSON that `-j` prints; a point is a direction, as the server sees it."""
    server = SERVERS[settings.server]
    load.need("curl" if server.http else "iperf3", server.program, "nsenter", "unshare", "ip")
    if server.name == "redis":
        raise load.LoadError("redis serves no downloads")
    with contextlib.ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        digest = write_random(site / FILE, settings.megabytes << 20) if server.http else ""
        worlds: list[World] = [
            *stack.enter_context(neat_worlds(settings.replicas, settings.datapaths, settings.stack)),
            stack.enter_context(linux_world()),
        ]
        sides: list[Side] = [stack.enter_context(world.serve(server, Plan(site, ""))) for world in worlds]
        if server.http:
            for side in sides:
                progress(f"comparing the bytes: {side.name}")
                load.verify(side.inside, f"http://{side.address}/{FILE}", digest)
        directions = ("send",) if server.http else ("send", "receive")
        points = []
        for direction in directions:
            points += compare(sides, settings, direction, progress)
    return {"bench": "bulk", "settings": settings._asdict(), "points": points}


def compare(
    sides: Sequence[Side], settings: BulkSettings, direction: str, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All sides in turns; a row for each that is not Linux."""
    runs = {side.name: lambda side=side: measure(side, settings, direction) for side in sides}
    results = run_rounds(runs, settings.rounds, lambda text: progress(f"{direction}: {text}"))
    return [
        {"direction": direction, "replicas": settings.replicas, "datapath": side.datapath}
        | versus(results, side.name, "gbit_per_s", "gb_per_cpu_s")
        for side in sides
        if side.name != "linux"
    ]


def measure(side: Side, settings: BulkSettings, direction: str) -> Round:
    meter = Meter(side.pids())
    meter.start()
    if SERVERS[settings.server].http:
        result = load.curl(side.inside, f"http://{side.address}/{FILE}", settings.megabytes << 20)
    else:
        port = SERVERS[settings.server].port
        reverse = direction == "send"
        result = load.iperf3(side.inside, side.address, port, settings.seconds, reverse=reverse)
    used = meter.stop() | {"client": result.client_cpu_s}
    side.rest()
    return {
        "gbit_per_s": round(result.bytes * 8 / result.seconds / 1e9, 3),
        "seconds": round(result.seconds, 4),
        "gb_per_cpu_s": per_cpu_s(result.bytes / 1e9, used),
        "steal": meter.steal,
        "cpu_ns_per_byte": {name: round(seconds / result.bytes * 1e9, 4) for name, seconds in used.items()},
        "cpu_share": shares(used),
    }
