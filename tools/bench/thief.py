"""A part of every processor taken away, as a hypervisor takes it: whoever runs there has to stand still.

As a program: `python -m neat.tools.bench.thief PERCENT SECONDS`. It says that it has begun, and ends by
itself, or with who started it. What it takes, and when, is the same in each run.
"""

import contextlib
import ctypes
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from neat.tools.bench.load import LoadError
from neat.tools.bench.processes import READY_S, end, tree
from neat.tools.stack import environment

# How long it takes a processor at a time, in seconds; that of a hypervisor's scheduler is a few milliseconds.
SHORTEST_S, LONGEST_S = 0.001, 0.004
PRIORITY = 50
MOST_PERCENT = 80  # the kernel leaves at least 5 % to others (sched(7), sched_rt_runtime_us)
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def stealing(percent: int, seconds: float) -> Iterator[list[int]]:
    """That part of all processors is gone meanwhile, but for no longer than `seconds`; the processes that
    take it, none for 0 %. LoadError where real-time processes are forbidden."""
    if not percent:
        yield []
        return
    command = [sys.executable, "-m", "neat.tools.bench.thief", str(percent), str(seconds)]
    process = subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], READY_S)
        said = process.stdout.readline().strip() if ready else "nothing"
        if said != "stealing":
            raise LoadError(f"processor time cannot be taken away: {said}")
        yield tree(process.pid)
    finally:
        end(process)


def pieces(percent: int, seed: int) -> Iterator[tuple[float, float]]:
    """For ever: how long a processor is taken, and then left alone; in seconds."""
    numbers = random.Random(seed)
    while True:
        taken = numbers.uniform(SHORTEST_S, LONGEST_S)
        yield taken, taken * (100 - percent) / percent


def take(processor: int, percent: int, until: float) -> None:
    """Take pieces of a processor; what comes late is shorter, and ends when it should."""
    os.sched_setaffinity(0, {processor})
    begin = time.monotonic()
    for taken, left in pieces(percent, processor):
        while time.monotonic() < begin + taken:
            pass
        begin += taken + left
        if begin > until:
            return
        time.sleep(max(0.0, begin - time.monotonic()))


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    percent, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    end_with_parent()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        raise SystemExit(f"real-time processes are forbidden here ({error.strerror})") from None
    for processor in sorted(os.sched_getaffinity(0)):
        if os.fork() == 0:
            end_with_parent()
            take(processor, percent, until)
            os._exit(0)
    print("stealing", flush=True)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main()
