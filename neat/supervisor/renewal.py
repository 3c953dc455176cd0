"""Fresh processes for all that sees packets, again and again: address-space re-randomisation over time
(NEaT §3.8), and code that was installed meanwhile.

A round is `neat restart --rolling` without the supervisor: syscall server, driver and each replica in turn,
the next when everybody has been well for a while. Nothing is ended while anything fails, starts, or is asked
for. When a round is due and who is still to be replaced is in the supervisor's journal, a component under the
incarnation that is to go: whoever goes on with a round finds what is done, however it came about.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from neat.config import MOST_OFTEN_MS, MOST_SELDOM_MS, Config
from neat.supervisor.component import Component, Phase
from neat.supervisor.events import EventLog

NOTE = "renewal"  # in the journal
WELL_S = 1.0  # that everybody has been ready for, before the next is ended
WARM_S = 5.0  # how long that one waits for a standby
LEAST_S, MOST_S = MOST_OFTEN_MS / 1e3, MOST_SELDOM_MS / 1e3
NEEDS_STATE = 'restarts at intervals need recovery = "stateful": each would end connections'
ROLLING_ORDER = ("syscall", "driver", "ip", "replica")


class Standbys(Protocol):
    @property
    def ready(self) -> bool: ...

    def renew(self) -> None: ...


def in_order(components: Iterable[Component]) -> list[Component]:
    return sorted(components, key=lambda c: (ROLLING_ORDER.index(c.kind), c.slot or 0))


class Renewal:
    def __init__(
        self,
        config: Config,
        components: dict[str, Component],
        standbys: Standbys,
        restart: Callable[[Component], None],
        events: EventLog,
        now: float,
    ) -> None:
        """`restart`: end a component, and start its successor. Times on CLOCK_MONOTONIC, which goes on
        through the deaths of supervisors."""
        self.components = components
        self.standbys = standbys
        self.restart = restart
        self.events = events
        noted = events.notes.get(NOTE, {})
        self.every_s = float(noted.get("every_s", config.restart_every_ms / 1e3))
        self.due = float(noted.get("due", now + self.every_s))
        self.left: list[tuple[str, int]] = [(name, number) for name, number in noted.get("left", [])]
        if self.every_s and not noted:
            self._note()
        self.warm_by = 0.0  # then nobody waits for a standby any more; 0.0: nobody does now

    def set(self, every_s: float, now: float) -> None:
        """A round every so many seconds from now on, the first when the first of them are over; 0: none. One
        that has begun is not gone on with."""
        self.every_s, self.due = every_s, now + every_s
        self.left = []
        self._note()

    def next_s(self, now: float) -> float | None:
        """Seconds until the next round; None when there is none to come."""
        return max(self.due - now, 0.0) if self.every_s else None

    def turn(self, now: float, *, busy: bool) -> None:
        """What is due. `busy`: somebody waits for an answer that this may disturb."""
        if not self.every_s:
            return
        if not self.left and now >= self.due:
            self._begin(now)
        while self.left and self._is_done(*self.left[0]):
            self.left.pop(0)
            self._note()
            if not self.left:
                self.events.record("supervisor", "has restarted everything")
        if self.left and not busy and self._all_well(now) and self._is_warm(now):
            self.restart(self.components[self.left[0][0]])
            self.warm_by = 0.0

    def _begin(self, now: float) -> None:
        self.left = [(c.name, c.incarnation) for c in in_order(self.components.values()) if not c.leaving]
        self.due += self.every_s * (1 + (now - self.due) // self.every_s)
        self.standbys.renew()
        self._note()
        self.events.record("supervisor", "restarts everything", f"every {self.every_s:g} s")

    def _is_done(self, name: str, incarnation: int) -> bool:
        """It is another process by now, or will not stay."""
        component = self.components.get(name)
        return component is None or component.leaving or component.incarnation > incarnation

    def _all_well(self, now: float) -> bool:
        return all(c.phase is Phase.RUNNING and now - c.ready_at >= WELL_S for c in self.components.values())

    def _is_warm(self, now: float) -> bool:
        """A standby waits, or none will."""
        self.warm_by = self.warm_by or now + WARM_S
        return self.standbys.ready or now >= self.warm_by

    def _note(self) -> None:
        note: dict[str, Any] = {"every_s": self.every_s, "due": self.due, "left": self.left}
        self.events.notes[NOTE] = note
        self.events.save()
