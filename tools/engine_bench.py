"""What a request and its response cost in the protocol engine: `python -m neat.tools.engine_bench [-j]`.

No I/O, no application, no other process: frames made beforehand go in, frames come out.
"""

import json
import os
import statistics
import sys
from typing import Any

from neat.config import Config
from neat.shm import filter as filters
from neat.stack.bench import Bench
from neat.supervisor.filtering import Filtering

# Rules of the input chain that match no packet of these, and then what lets connections pass.
ESTABLISHED = "input ct state established accept"
NEVER = "input ip saddr 192.0.2.0/24 tcp dport { 22, 25 } drop"

CASES: dict[str, dict[str, Any]] = {
    "one_connection": {"connections": 1},
    "64_connections": {"connections": 64},
    "512_connections": {"connections": 512},
    "64_connections_no_timestamps": {"connections": 64, "timestamps": False},
    "64_connections_1400_bytes": {"connections": 64, "request": 100, "response": 1400},
    "64_connections_filter_without_rules": {"connections": 64, "rules": []},
    "64_connections_filter_established": {"connections": 64, "rules": [ESTABLISHED]},
    "64_connections_filter_10_rules": {"connections": 64, "rules": [*[NEVER] * 10, ESTABLISHED]},
    "64_connections_filter_100_rules": {"connections": 64, "rules": [*[NEVER] * 100, ESTABLISHED]},
}
PAIRS = 100_000
REPEATS = 5


def make(rules: list[str] | None = None, **case: Any) -> Bench:
    """`rules`: of a packet filter before the engine; None: it has none."""
    bench = Bench(**case)
    if rules is not None:
        segments = filters.create(), filters.create_track()
        Filtering(Config(filter=rules), *segments, None)
        bench.use_filter(*segments)
        for fd in segments:
            os.close(fd)
    return bench


def measure() -> dict[str, float]:
    """Nanoseconds for a pair, the median of some runs, by case. The cases take turns."""
    benches = {name: make(**case) for name, case in CASES.items()}
    rounds = {name: PAIRS // case["connections"] for name, case in CASES.items()}
    for name, bench in benches.items():
        bench.run(rounds[name] // 10)
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(REPEATS):
        for name, bench in benches.items():
            taken[name].append(bench.run(rounds[name]))
    return {name: round(statistics.median(runs), 1) for name, runs in taken.items()}


def main() -> None:
    results = measure()
    if "-j" in sys.argv[1:]:
        print(json.dumps(results))
        return
    for name, ns in results.items():
        print(f"{name.replace('_', ' '):40} {ns:8.1f} ns")


if __name__ == "__main__":
    main()
