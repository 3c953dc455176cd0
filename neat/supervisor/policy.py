"""The two judgements of the supervisor, as plain functions of what was seen: when to restart, and what is
hung."""

from dataclasses import dataclass
from enum import Enum

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
YOUNG_S = 2.0
HEALTHY_AFTER_S = 10.0


class RestartPolicy:
    """At once the first time; 0.1 s, 0.2 s, ... 5 s while it keeps dying young. Who lived for 2 s makes it no
    longer, who lived for 10 s is as new."""

    def __init__(self) -> None:
        self.deaths = 0
        self.started_at = 0.0

    def started(self, now: float) -> None:
        self.started_at = now

    def died(self, now: float) -> float:
        """Seconds to wait before the next start."""
        lived = now - self.started_at
        if lived >= HEALTHY_AFTER_S:
            self.deaths = 0
        if lived < YOUNG_S or self.deaths == 0:
            self.deaths += 1
        if self.deaths == 1:
            return 0.0
        return min(FIRST_DELAY_S * 2.0 ** min(self.deaths - 2, 30), MAX_DELAY_S)


SPINNING_CPU_NS = 150_000_000
# A sleeper may owe its heartbeat this many times longer than hang_ms, because a starved machine wakes it
# late.
SLEEPER_FACTOR = 4


@dataclass(frozen=True)
class Pulse:
    """One look at a component. Times in ns on CLOCK_MONOTONIC."""

    age_ns: int  # since the last heartbeat
    cpu_ns: int  # CPU time that it used since that heartbeat was first found overdue
    process_state: str  # field 3 of /proc/PID/stat
    looks: int  # looks in a row at this overdue heartbeat
    observer_late: bool  # this look came much later than planned: the machine is starved, or we were stopped


class Verdict(Enum):
    ALIVE = "alive"
    STOPPED = "stopped by a signal"
    SPINNING = "spinning without a heartbeat"
    BLOCKED = "asleep without a heartbeat"


def judge(pulse: Pulse, hang_ns: int) -> Verdict:
    """Is it hung? A process that merely gets no CPU (runnable, but not running) is alive, however old its
    heartbeat."""
    if pulse.age_ns < hang_ns:
        return Verdict.ALIVE
    if pulse.process_state in "Tt":
        return Verdict.STOPPED
    if pulse.cpu_ns >= SPINNING_CPU_NS:
        return Verdict.SPINNING
    if pulse.observer_late or pulse.looks < 3 or pulse.age_ns < SLEEPER_FACTOR * hang_ns:
        return Verdict.ALIVE
    return Verdict.BLOCKED if pulse.process_state in "SD" else Verdict.ALIVE
