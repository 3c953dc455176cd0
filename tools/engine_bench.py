"""What a request and its response cost in the protocol engine: `python -m neat.tools.engine_bench [-j]`.

No I/O, no application, no other process: frames made beforehand go in, frames come out.
"""

import json
import statistics
import sys

from neat.stack.bench import Bench

CASES = {
    "one_connection": {"connections": 1},
    "64_connections": {"connections": 64},
    "512_connections": {"connections": 512},
    "64_connections_no_timestamps": {"connections": 64, "timestamps": False},
    "64_connections_1400_bytes": {"connections": 64, "request": 100, "response": 1400},
}
PAIRS = 100_000
REPEATS = 5


def measure() -> dict[str, float]:
    """Nanoseconds for a pair, the median of some runs, by case."""
    out = {}
    for name, case in CASES.items():
        bench = Bench(**case)
        rounds = PAIRS // case["connections"]
        bench.run(rounds // 10)
        out[name] = round(statistics.median(bench.run(rounds) for _ in range(REPEATS)), 1)
    return out


def main() -> None:
    results = measure()
    if "-j" in sys.argv[1:]:
        print(json.dumps(results))
        return
    for name, ns in results.items():
        print(f"{name.replace('_', ' '):40} {ns:8.1f} ns")


if __name__ == "__main__":
    main()
