"""`neat bench churn`: many short connections; then slots, memory and descriptors must be where they began."""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import cpu
from neat.tools.bench.load import GRACE_S, LoadError
from neat.tools.bench.servers import SERVERS, Plan
from neat.tools.bench.sides import NeatSide, neat_world

BODY = b"twenty bytes of body"
# Memory that a process may gain without being called leaky: heaps round up.
SLACK_BYTES = 2 << 20
SETTLE_S = 20.0
SLOWEST_PER_S = 200
# Until the supervisor has seen the end of our own questions.
OWN_S = 0.2


class ChurnSettings(NamedTuple):
    connections: int
    parallel: int
    replicas: int
    time_wait_ms: int


class Level(NamedTuple):
    """What could leak, at one moment."""

    sockets: int
    descriptors: dict[str, int]
    private: dict[str, int]


def churn(settings: ChurnSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The result as the JSON that `-j` prints; "leaks" names what did not come back."""
    with tempfile.TemporaryDirectory(prefix="neat-site-") as name:
        site = Path(name)
        (site / "index.html").write_bytes(BODY)
        with (
            neat_world(settings.replicas, time_wait_ms=str(settings.time_wait_ms)) as world,
            world.serve(SERVERS["demo"], Plan(site, world.address)) as side,
        ):
            progress("warming up")
            run_churn(side, max(settings.connections // 10, settings.parallel), settings.parallel)
            before = settled(side)
            progress(f"{settings.connections} connections")
            meter = cpu.Meter({})
            meter.start()
            outcome = run_churn(side, settings.connections, settings.parallel)
            used = meter.stop()
            after = settled(side)
    return {
        "bench": "churn",
        "settings": settings._asdict(),
        "ok": outcome["ok"],
        "failed": outcome["failed"],
        "connections_per_s": outcome["rate"],
        "connections_per_cpu_s": cpu.per_cpu_s(outcome["ok"], used),
        "steal": meter.steal,
        "before": before._asdict(),
        "after": after._asdict(),
        "leaks": leaks(before, after),
    }


def run_churn(side: NeatSide, count: int, parallel: int) -> dict[str, Any]:
    """The client's report. LoadError when there is none."""
    seconds = count / SLOWEST_PER_S + GRACE_S
    command = [sys.executable, "-m", "neat.tools.clients", "churn", side.address, "--widen-ports"]
    command += [f"--count={count}", f"--parallel={parallel}", f"--seconds={seconds}"]
    command += [f"--sha256={hashlib.sha256(BODY).hexdigest()}"]
    done = subprocess.run(
        side.inside(command),
        env=side.stack.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + GRACE_S,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise LoadError(f"the client said: {(done.stdout + done.stderr).strip()[-300:]}") from None
    if report["event"] != "churned":
        raise LoadError(f"the client said: {report}")
    return report


def settled(side: NeatSide) -> Level:
    """The level once no connection is left: TIME_WAIT is over, and the server has seen the last end."""
    side.stack.wait(lambda stack: not connections(stack.sockets()), SETTLE_S, "the end of all connections")
    pids, sockets = side.pids(), len(side.stack.sockets())
    time.sleep(OWN_S)
    return Level(
        sockets,
        {name: sum(map(cpu.descriptors, group)) for name, group in pids.items()},
        {name: sum(map(cpu.private_bytes, group)) for name, group in pids.items()},
    )


def connections(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["protocol"] == "tcp" and row["state"] != "LISTEN"]


def leaks(before: Level, after: Level) -> list[str]:
    """What has become more; empty when all is well."""
    found = []
    if after.sockets > before.sockets:
        found.append(f"sockets: {before.sockets}, then {after.sockets}")
    for name, more in (Counter(after.descriptors) - Counter(before.descriptors)).items():
        found.append(f"{name}: {more} more descriptors")
    for name, more in (Counter(after.private) - Counter(before.private)).items():
        if more > SLACK_BYTES:
            found.append(f"{name}: {more >> 10} KiB more memory")
    return found
