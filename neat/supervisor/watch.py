"""Hang detection: look at every heartbeat on the board and at the rings that a component empties, and at what
the process is doing when one is overdue."""

import os
from dataclasses import dataclass

from neat.supervisor.policy import Pulse, Verdict, judge

NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
LOAD_WINDOW_NS = 1_000_000_000


@dataclass
class Beat:
    """The last sign of life of one kind that was seen of one process."""

    value: int
    seen: int  # when it was seen first
    cpu_ns: int = -1  # of the process, at the first look at which the next one was overdue
    looks: int = 0  # since then


class Watch:
    """Heartbeats of all components. One `look` each period; times in ns on CLOCK_MONOTONIC."""

    def __init__(self, hang_ms: int) -> None:
        self.hang_ns = hang_ms * 1_000_000
        self.overdue_ns = self.hang_ns * 2 // 5  # from then on its process is looked at
        self.period_ns = min(max(self.hang_ns // 4, 20_000_000), 100_000_000)
        self.last_round = 0
        self._beats: dict[tuple[str, str], Beat] = {}  # by component and kind
        # Start of a window, CPU time then, load of the window before.
        self._loads: dict[str, tuple[int, int, float]] = {}

    def begin_round(self, now: int) -> bool:
        """True when this round comes so late that we were starved ourselves."""
        late = self.last_round != 0 and now - self.last_round > 2 * self.period_ns
        self.last_round = now
        return late

    def forget(self, name: str) -> None:
        """Its process is another one from now on."""
        for key in [key for key in self._beats if key[0] == name]:
            del self._beats[key]
        self._loads.pop(name, None)

    def look(self, name: str, heartbeat: int, stat_fd: int, now: int, late: bool) -> tuple[Verdict, str]:
        """The verdict, and the evidence in words. The heartbeat may be any number: its writer claims it."""
        self.note_load(name, stat_fd, now)
        verdict, age = self._judge((name, "heartbeat"), heartbeat, heartbeat, stat_fd, now, late)
        return verdict, f"no heartbeat for {age // 1_000_000} ms"

    def look_at_ring(
        self, name: str, ring: str, head: int | None, stat_fd: int, now: int, late: bool
    ) -> tuple[bool, str]:
        """Whether a component that beats is hung all the same, as it takes nothing out of one of its rings;
        and the evidence. `head`: its position there while something waits, else None."""
        if head is None:
            self._beats.pop((name, ring), None)
            return False, ""
        verdict, age = self._judge((name, ring), head, now, stat_fd, now, late)
        hung = verdict in (Verdict.SPINNING, Verdict.BLOCKED)
        return hung, f"what is in its {ring} has waited for {age // 1_000_000} ms"

    def _judge(
        self, key: tuple[str, str], value: int, since: int, stat_fd: int, now: int, late: bool
    ) -> tuple[Verdict, int]:
        """The verdict, and the age in ns of this value, which began at `since` or when it was seen first."""
        beat = self._beats.get(key)
        if beat is None or beat.value != value:
            self._beats[key] = Beat(value, now)
            return Verdict.ALIVE, 0
        age = now - min(since, beat.seen)
        if age < self.overdue_ns:
            return Verdict.ALIVE, age
        state, cpu_ns = read_stat(stat_fd)
        if beat.cpu_ns < 0:
            beat.cpu_ns = cpu_ns
        beat.looks += 1
        return judge(Pulse(age, cpu_ns - beat.cpu_ns, state, beat.looks, late), self.hang_ns), age

    def note_load(self, name: str, stat_fd: int, now: int) -> None:
        """How much CPU time it has used until now."""
        window = self._loads.get(name)
        if window is None or now - window[0] >= LOAD_WINDOW_NS:
            cpu_ns = read_stat(stat_fd)[1]
            load = (cpu_ns - window[1]) / (now - window[0]) if window else 0.0
            self._loads[name] = (now, cpu_ns, max(0.0, min(1.0, load)))

    def load(self, name: str) -> float:
        """Share of a CPU that it used over the last second or so."""
        return self._loads.get(name, (0, 0, 0.0))[2]


def read_stat(stat_fd: int) -> tuple[str, int]:
    """State (field 3) and CPU time in ns (fields 14 and 15) of an open /proc/PID/stat; ("X", 0) once it is
    gone."""
    try:
        fields = os.pread(stat_fd, 1024, 0).rpartition(b")")[2].split()
    except OSError:
        return "X", 0
    if len(fields) < 13:
        return "X", 0
    return fields[0].decode(), (int(fields[11]) + int(fields[12])) * NS_PER_TICK
