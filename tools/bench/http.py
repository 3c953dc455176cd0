"""`neat bench http`: requests a second, and CPU time for each of them, on NEaT and on Linux."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.bench.compare import Round, medians, ratio, run_rounds
from neat.tools.bench.cpu import Meter
from neat.tools.bench.sides import Side, linux_side, neat_side

FILE = "file.bin"


class HttpSettings(NamedTuple):
    connections: int
    seconds: int
    rounds: int
    replicas: int
    size: int
    keep_alive: bool
    client: str
    calls: int
    threads: int


def http(settings: HttpSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole comparison, as the JSON that `-j` prints."""
    load.need(settings.client, "nsenter", "unshare", "ip")
    with contextlib.ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        (site / FILE).write_bytes(os.urandom(settings.size))
        sides: list[Side] = [
            stack.enter_context(neat_side(site, settings.replicas)),
            stack.enter_context(linux_side(site)),
        ]
        for side in sides:
            progress(f"warming up: {side.name}")
            measure(side, settings._replace(seconds=1, calls=min(settings.calls, 100)))
        runs = {side.name: lambda side=side: measure(side, settings) for side in sides}
        results = run_rounds(runs, settings.rounds, progress)
    ours, theirs = medians(results["neat"]), medians(results["linux"])
    return {
        "bench": "http",
        "settings": settings._asdict(),
        "neat": ours,
        "linux": theirs,
        "ratio": ratio(ours["requests_per_s"], theirs["requests_per_s"]),
        "rounds": results,
    }


def measure(side: Side, settings: HttpSettings) -> Round:
    """One run of the client against one side."""
    meter = Meter(side.pids())
    meter.start()
    if settings.client == "httperf":
        connections, calls = settings.connections, settings.calls
        if not settings.keep_alive:
            connections, calls = connections * calls, 1
        result = load.httperf(side.inside, side.address, 80, f"/{FILE}", connections=connections, calls=calls)
    else:
        result = load.wrk(
            side.inside,
            f"http://{side.address}/{FILE}",
            connections=settings.connections,
            seconds=settings.seconds,
            keep_alive=settings.keep_alive,
            threads=settings.threads,
        )
    used = meter.stop() | {"client": result.client_cpu_s}
    requests = max(result.requests, 1)
    return {
        "requests_per_s": round(result.requests / result.seconds, 1),
        "errors": result.errors,
        "latency_p50_us": round(result.latency_p50_s * 1e6, 1),
        "latency_p99_us": round(result.latency_p99_s * 1e6, 1),
        "cpu_us_per_request": {name: round(seconds / requests * 1e6, 3) for name, seconds in used.items()},
        "cpu_share": shares(used),
    }


def shares(used: dict[str, float]) -> dict[str, float]:
    """Each component's part of the CPU time of the machine, 0 to 1; "rest" is what nobody here used."""
    machine = used["machine"]
    if machine <= 0:
        return {}
    parts = {name: round(seconds / machine, 4) for name, seconds in used.items() if name != "machine"}
    return parts | {"rest": round(max(0.0, 1 - sum(parts.values())), 4)}
