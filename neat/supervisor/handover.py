"""Who leaves and has nothing left but TIME-WAITs ends, and another replica goes on with them.

They are records in its state segment, without a socket, so they move one by one: it is ended with its state
at rest, the heir is told where that is, copies them, says to the driver that the flows are his, and then to
us that he has them all. Whoever dies in the middle changes nothing: an heir is told again, as to hear of it
twice changes nothing; a successor of ours starts the one that is down again, and it leaves once more.
"""

from typing import Any

from neat.supervisor.component import Component, Phase
from neat.supervisor.events import EventLog
from neat.supervisor.keeper import Keeper


class Handover:
    def __init__(self, keeper: Keeper, events: EventLog) -> None:
        self.keeper = keeper
        self.events = events
        self.told: dict[str, tuple[str, int]] = {}  # of who leaves: which heir, and which process of it

    def heirs(self) -> list[Component]:
        replicas = [c for c in self.keeper.components.values() if c.steered]
        return [r for r in replicas if r.phase is Phase.RUNNING and not r.leaving]

    def possible(self, replica: Component) -> bool:
        """Not without a state that outlives its process, nor of what is half closed: the peer may still say
        something."""
        half_closed = self.keeper.board.counter(replica.name, "tcp_fin_waiting")
        return self.keeper.stateful and not half_closed and bool(self.heirs())

    def begin(self, replica: Component) -> None:
        self.told.pop(replica.name, None)
        self.keeper.hand_over(replica)

    def turn(self) -> None:
        """Whoever was told may have died since, or leave himself: then another one is told."""
        for replica in list(self.keeper.components.values()):
            if replica.handing and replica.leaving and replica.phase is Phase.DOWN:
                heirs = self.heirs()
                if heirs and self.told.get(replica.name) not in [(h.name, h.incarnation) for h in heirs]:
                    self._tell(heirs[0], replica)

    def _tell(self, heir: Component, replica: Component) -> None:
        """The flows are nobody's from now on, so that he may say they are his."""
        self.keeper.slots.disown(replica)
        message = {"op": "adopt", "name": replica.name, "state": replica.state}
        if heir.tell(message, self.keeper.inventory.fds[f"state{replica.slot}"]):
            self.told[replica.name] = (heir.name, heir.incarnation)

    def adopted(self, heir: Component, message: dict[str, Any]) -> None:
        """His word. It may be of one that is back by now."""
        replica = self.keeper.components.get(str(message.get("name")))
        if replica is None or not (replica.handing and replica.leaving and replica.phase is Phase.DOWN):
            return
        if message.get("state") == replica.state:
            self.told.pop(replica.name, None)
            self.events.record(replica.name, "has handed over its TIME-WAITs", f"to {heir.name}")
            self.keeper.inherited(replica)
