"""CPU time of processes and of the machine, from /proc."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def process_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used; its threads included. 0 when it is gone.

    From schedstat (nanoseconds) where the kernel has it, else from stat (ticks of 10 ms)."""
    try:
        return (
            sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
            / 1e9
        )
    except (OSError, ValueError, IndexError):
        return ticks_s(pid)


def ticks_s(pid: int) -> float:
    """Fields 14 and 15 of /proc/PID/stat (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S
    except (OSError, ValueError, IndexError):
        return 0.0


def machine_s() -> float:
    """CPU seconds that were not idle, of all processors together (proc(5), "/proc/stat")."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * TICK_S


def stolen_s() -> float:
    """CPU seconds that the hypervisor gave to others, of all processors together (proc(5), "/proc/stat")."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) * TICK_S


def private_bytes(pid: int) -> int:
    """Memory of the process's own (RssAnon, proc(5)): segments have a fixed size, only this can grow."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) << 10
    return 0


def shared_out_bytes(pid: int) -> int:
    """Memory of the process, what it shares divided by the number of those that share it (Pss, proc(5))."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(rollup.partition("\nPss:")[2].split()[0]) << 10
    return 0


def kernel_bytes() -> int:
    """What the kernel has for its own objects, sockets among them; of the whole machine (Slab, proc(5))."""
    return int(Path("/proc/meminfo").read_text().partition("\nSlab:")[2].split()[0]) << 10


def descriptors(pid: int) -> int:
    """How many descriptors the process has open; 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class Meter:
    """CPU seconds that named groups of processes use between `start` and `stop`."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self.pids = dict(pids)
        self.before: dict[str, float] = {}
        self.machine_before = 0.0

    def start(self) -> None:
        self.before = self._used()
        self.machine_before = machine_s()

    def stop(self) -> dict[str, float]:
        """Seconds by name; "machine" is all of it, whoever used it."""
        used = {name: seconds - self.before[name] for name, seconds in self._used().items()}
        return used | {"machine": machine_s() - self.machine_before}

    def _used(self) -> dict[str, float]:
        return {name: sum(map(process_s, pids)) for name, pids in self.pids.items()}
