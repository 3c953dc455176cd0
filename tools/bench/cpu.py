"""CPU time of processes and of the machine, from /proc; and shares of it."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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


class Machine(NamedTuple):
    """CPU seconds of all processors together since the machine began (proc(5), "/proc/stat")."""

    busy: float  # neither idle nor stolen
    stolen: float  # what the hypervisor gave to others
    idle: float  # iowait included

    def since(self, before: "Machine") -> "Machine":
        return Machine(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def steal(self) -> float:
        """The part of the time that was stolen, 0 to 1."""
        return round(self.stolen / (sum(self) or 1.0), 4)


def machine() -> Machine:
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(field) * TICK_S for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return Machine(user + nice + system + irq + softirq, steal, idle + iowait)


def stolen_s() -> float:
    return machine().stolen


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
    """CPU seconds that named groups of processes use between `start` and `stop`; then `steal` is the part of
    the machine's time that was stolen meanwhile. What `thieves` use counts as nobody's."""

    def __init__(self, pids: Mapping[str, Sequence[int]], thieves: Sequence[int] = ()) -> None:
        self.pids = dict(pids)
        self.thieves = list(thieves)
        self.before: dict[str, float] = {}
        self.steal = 0.0

    def start(self) -> None:
        self.before = self._used()
        self.machine_before = machine()
        self.taken_before = sum(map(process_s, self.thieves))

    def stop(self) -> dict[str, float]:
        """Seconds by name; "machine" is all that was busy, whoever it was."""
        meanwhile = machine().since(self.machine_before)
        self.steal = meanwhile.steal
        taken = sum(map(process_s, self.thieves)) - self.taken_before
        used = {name: seconds - self.before[name] for name, seconds in self._used().items()}
        return used | {"machine": meanwhile.busy - taken}

    def _used(self) -> dict[str, float]:
        return {name: sum(map(process_s, pids)) for name, pids in self.pids.items()}


def shares(used: Mapping[str, float]) -> dict[str, float]:
    """Each component's part of the CPU time of the machine, 0 to 1; "rest" is what nobody here used."""
    machine_s = used["machine"]
    if machine_s <= 0:
        return {}
    parts = {name: round(seconds / machine_s, 4) for name, seconds in used.items() if name != "machine"}
    return parts | {"rest": round(max(0.0, 1 - sum(parts.values())), 4)}


def per_cpu_s(work: float, used: Mapping[str, float]) -> float:
    """How much work a busy CPU second of the machine does; 0 when it was too short to be seen."""
    return round(work / used["machine"], 4) if used["machine"] > 0 else 0.0
