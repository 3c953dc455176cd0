"""`neat bench bulk`: one large download, in Gbit/s, on NEaT and on Linux."""

import contextlib
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from neat.tools.bench import load
from neat.tools.bench.compare import Round, medians, ratio, run_rounds
from neat.tools.bench.cpu import Meter
from neat.tools.bench.http import shares
from neat.tools.bench.sides import Side, linux_side, neat_side

FILE = "bulk.bin"
VERIFY_S = 60.0


class BulkSettings(NamedTuple):
    megabytes: int
    rounds: int
    replicas: int


def bulk(settings: BulkSettings, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole comparison, as the JSON that `-j` prints. One download of each side is hashed."""
    load.need("curl", "nsenter", "unshare", "ip")
    size = settings.megabytes << 20
    with contextlib.ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neat-site-")))
        digest = write_random(site / FILE, settings.megabytes)
        sides: list[Side] = [
            stack.enter_context(neat_side(site, settings.replicas)),
            stack.enter_context(linux_side(site)),
        ]
        for side in sides:
            progress(f"comparing the bytes: {side.name}")
            verify(side, digest)
        runs = {side.name: lambda side=side: measure(side, size) for side in sides}
        results = run_rounds(runs, settings.rounds, progress)
    ours, theirs = medians(results["neat"]), medians(results["linux"])
    return {
        "bench": "bulk",
        "settings": settings._asdict(),
        "neat": ours,
        "linux": theirs,
        "ratio": ratio(ours["gbit_per_s"], theirs["gbit_per_s"]),
        "rounds": results,
    }


def write_random(path: Path, megabytes: int) -> str:
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(megabytes):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def verify(side: Side, digest: str) -> None:
    """One download of which every byte is compared. LoadError."""
    command = side.inside(["curl", "-sS", "--max-time", f"{VERIFY_S:g}", f"http://{side.address}/{FILE}"])
    found = hashlib.sha256()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(1 << 20):
            found.update(block)
    if process.returncode or found.hexdigest() != digest:
        raise load.LoadError(
            f"{side.name}: the download is not what was served (curl: status {process.returncode})"
        )


def measure(side: Side, size: int) -> Round:
    meter = Meter(side.pids())
    meter.start()
    result = load.curl(side.inside, f"http://{side.address}/{FILE}", size)
    used = meter.stop() | {"client": result.client_cpu_s}
    return {
        "gbit_per_s": round(result.bytes * 8 / result.seconds / 1e9, 3),
        "seconds": round(result.seconds, 4),
        "cpu_ns_per_byte": {name: round(seconds / result.bytes * 1e9, 4) for name, seconds in used.items()},
        "cpu_share": shares(used),
    }
