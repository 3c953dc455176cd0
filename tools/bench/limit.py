"""`neat bench limit`: what the TAP device itself can do. As a program, it measures in the current namespace.

The result is that of `neat.drivers.limit.measure`: `small` and `large` frames with the cost of a read and a
write in nanoseconds, and `echo` with round trips a second through a responder without a stack.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from neat.tools.bench import load
from neat.tools.stack import environment

PARTS = 4
DEVICE, KERNEL, STACK = "limit0", "10.79.0.1", "10.79.0.2"


def limit(seconds: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """The result as the JSON that `-j` prints; `seconds` for each part, in its own namespace. LoadError."""
    load.need("unshare")
    progress("the TAP device by itself")
    command = ["unshare", "--net", sys.executable, "-m", "neat.tools.bench.limit", str(seconds)]
    try:
        done = subprocess.run(
            command,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PARTS * seconds + load.GRACE_S,
        )
    except subprocess.TimeoutExpired:
        raise load.LoadError("the measurement did not end in time") from None
    if done.returncode != 0:
        raise load.LoadError(f"the measurement failed: {done.stderr.strip()[-300:]}")
    return {"bench": "limit", "settings": {"seconds": seconds}, **json.loads(done.stdout)}


def main() -> None:
    from neat.drivers.limit import measure
    from neat.drivers.tap import open_tap

    (tap,) = open_tap(DEVICE, f"{KERNEL}/24", 1500)
    try:
        print(json.dumps(measure(tap, DEVICE, KERNEL, STACK, float(sys.argv[1]))))
    finally:
        os.close(tap)


if __name__ == "__main__":
    main()
