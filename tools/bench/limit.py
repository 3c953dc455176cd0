"""`neat bench limit`: what the TAP device itself can do. As a program, it measures in the current namespace.

The result is that of `neat.drivers.limit.measure`: `small` and `large` frames with the cost of a read and a
write in nanoseconds, and `echo` with round trips a second through a responder without a stack. `contention`
is that of neat.drivers.limit.contention; `memory` what one and all processors copy, in GB/s.
"""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from neat.tools.bench import load
from neat.tools.stack import environment

PARTS = 6  # that take `seconds`, or less
SHORT = 0.3  # of `seconds`, for what is steady
COPY_BYTES = 64 << 20
FLOWS = 1024
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


def memory_gb_per_s(threads: int, seconds: float) -> float:
    """What so many processors copy together, between buffers that no cache holds."""
    together = threading.Barrier(threads)
    copied = [0.0] * threads

    def copy(number: int) -> None:
        source, target = bytearray(COPY_BYTES), bytearray(COPY_BYTES)
        to, origin = ((ctypes.c_char * COPY_BYTES).from_buffer(buffer) for buffer in (target, source))
        ctypes.memmove(to, origin, COPY_BYTES)
        together.wait()
        start = now = time.monotonic()
        rounds = 0
        while now < start + seconds:
            ctypes.memmove(to, origin, COPY_BYTES)
            rounds += 1
            now = time.monotonic()
        copied[number] = rounds * COPY_BYTES / (now - start)

    each = [threading.Thread(target=copy, args=(number,)) for number in range(threads)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    return sum(copied) / 1e9


def main() -> None:
    from neat.drivers import program
    from neat.drivers.limit import contention, measure
    from neat.drivers.tap import open_tap
    from neat.shm import steering

    seconds = float(sys.argv[1])
    (tap,) = open_tap(DEVICE, f"{KERNEL}/24", 1500)
    result = measure(tap, DEVICE, KERNEL, STACK, seconds)
    queues = open_tap("limit1", "10.79.1.1/24", 1500, queues=2)
    if not program.usable():  # else the device looks for the sender's flow at each write
        program.install(queues[0], steering.create(FLOWS, kernel=True), FLOWS)
    others = [tap, *open_tap("limit2", "10.79.2.1/24", 1500)]
    result["contention"] = contention(queues, others, seconds * SHORT)
    processors = len(os.sched_getaffinity(0))
    result["memory"] = {
        "processors": processors,
        "one_gb_per_s": memory_gb_per_s(1, seconds * SHORT),
        "all_gb_per_s": memory_gb_per_s(processors, seconds * SHORT),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
