"""How many replicas there are: by `neat scale`, or by their load (NEaT §3.4).

One more gets its sockets and its share of the ports before it gets packets, and new flows from then on; flows
that are there stay where they are. One less is lazy: it is *leaving*, gets nothing new, serves what it has,
and ends with the last of that; when that is only TIME-WAITs, one that stays goes on with them. Which slots
have a replica, which of them stay, and who decides, is in the supervisor's journal before anything is done
about it: a successor goes on.
"""

import time
from collections.abc import Callable

from neat.config import Config
from neat.shm.steering import SLOTS
from neat.supervisor import device
from neat.supervisor.autoscale import Autoscale, Meter, Sample
from neat.supervisor.component import Component, Phase, replicas_in
from neat.supervisor.events import EventLog
from neat.supervisor.handover import Handover
from neat.supervisor.keeper import Keeper

# So long an application may use a replica that it could know to be leaving (FRESH_NS in registration.c), and
# so long it has to read what has come to its UDP sockets.
LINGER_S = 2.0
# What a replica has left: its counter, and the word for people.
LEFT = {"tcp_connections": "connections", "tcp_time_waiting": "in TIME-WAIT", "descriptors": "descriptors"}
LOOK_S = 1.0  # between two looks at the load
STAYS, AUTO = "slots", "auto"  # notes in the journal


def noted_slots(config: Config, events: EventLog) -> dict[int, bool]:
    """In which slots there are replicas, and whether they stay."""
    noted = events.notes.get(STAYS)
    if noted is None:
        return dict.fromkeys(range(config.replicas), True)
    return {int(slot): stays for slot, stays in noted.items()}


class Scaling:
    def __init__(self, config: Config, keeper: Keeper, events: EventLog) -> None:
        self.config = config
        self.most = SLOTS // 2 if config.has_parts else SLOTS
        self.keeper = keeper
        self.events = events
        self.handover = Handover(keeper, events)
        self.board = keeper.board
        self.links = keeper.lookout.links
        self.left_at: dict[str, float] = {}  # when a replica was first seen leaving
        self.drained: set[str] = set()  # that had nothing left when they were last looked at
        self.tap = config.tap
        self.policy = Autoscale(
            config.scale_min,
            config.scale_max,
            config.scale_up_load,
            config.scale_down_load,
            config.scale_cooldown_ms / 1e3,
        )
        self.auto = bool(events.notes.get(AUTO, config.scaling == "auto"))
        self.meters: dict[str, Meter] = {}
        self.look_at = 0.0

    def replicas(self) -> list[Component]:
        return [c for c in self.keeper.components.values() if c.steered]

    def decide_by_load(self, auto: bool) -> None:
        self.auto = auto
        self.policy.disturbed()
        self.events.notes[AUTO] = auto
        self.events.save()

    def scale(self, count: int, why: str) -> dict[str, list[str]]:
        """Have so many replicas that stay; first those that are leaving are kept. Names of those that are
        `started`, `kept`, and `leaving` from now on."""
        staying = [replica for replica in self.replicas() if not replica.leaving]
        taken = {component.home for component in self.keeper.components.values()}
        missing = max(count - len(staying), 0)
        kept = [replica for replica in self.replicas() if replica.leaving][:missing]
        free = [slot for slot in range(self.most) if slot not in taken]
        new = [replicas_in(slot, self.config) for slot in free[: missing - len(kept)]]
        leaving = staying[count:]
        if kept or new or leaving:
            stays = {str(r.slot): r not in leaving and (r in kept or not r.leaving) for r in self.replicas()}
            self.events.notes[STAYS] = stays | {str(whole[0].slot): True for whole in new}
            self.events.record("supervisor", f"scales from {len(staying)} to {count} replicas", why)
        self._each(self.keeper.leave, leaving)
        self._each(self.keeper.stay, kept)
        for whole in new:
            self._each(self.keeper.add, whole)
        if kept or new or leaving:
            self.keeper.share()
        names = {"started": [whole[0] for whole in new], "kept": kept, "leaving": leaving}
        return {word: [replica.name for replica in replicas] for word, replicas in names.items()}

    def _each(self, do: Callable[[Component], None], replicas: list[Component]) -> None:
        for replica in replicas:
            self.left_at.pop(replica.name, None)
            self.drained.discard(replica.name)
            do(replica)

    def parted(self, replica: Component) -> None:
        """The keeper's word: it is gone."""
        self.events.notes.get(STAYS, {}).pop(str(replica.slot), None)
        self.events.record(replica.name, "has left")

    def left(self, replica: Component) -> dict[str, int]:
        """What it still serves, by its counters."""
        return {name: self.board.counter(replica.name, name) for name in LEFT}

    def turn(self) -> None:
        """Who is leaving and has nothing left is told to end; once a second, a look at the load."""
        now = time.monotonic()
        for replica in self.replicas():
            if replica.leaving and replica.phase is Phase.RUNNING:
                self._look_at_leaving(replica, now)
        self.handover.turn()
        if self.auto and now >= self.look_at and not self.keeper.ending:
            self.look_at = now + LOOK_S
            self._look_at_load(now)

    def _look_at_leaving(self, replica: Component, now: float) -> None:
        since = self.left_at.setdefault(replica.name, now)
        left = self.left(replica)
        waits = left["tcp_time_waiting"] if self.handover.possible(replica) else 0
        if sum(left.values()) > waits or now - since < LINGER_S:
            self.drained.discard(replica.name)
        elif replica.name not in self.drained:
            self.drained.add(replica.name)  # what was on its way has until the next look
        elif waits:
            self.handover.begin(replica)
        else:
            self.keeper.part(replica)

    # By load

    def _look_at_load(self, now: float) -> None:
        """Who starts or recovers has no load to judge by, so nothing is decided meanwhile."""
        staying = [replica for replica in self.replicas() if not replica.leaving]
        before, self.meters = self.meters, {}
        if any(replica.phase is not Phase.RUNNING for replica in staying):
            self.policy.disturbed()
            return
        lost_by_device = device.counted(self.tap).get("drops", 0)
        samples: list[Sample] = []
        for replica in staying:
            name, meter = replica.name, self._meter(replica, now, lost_by_device)
            self.meters[name] = meter
            if name in before:
                samples.append(before[name].until(meter))
        if len(samples) == len(staying):
            decision = self.policy.decide(samples, now)
            if decision is not None:
                self.scale(decision.count, decision.why)

    def _meter(self, replica: Component, now: float, lost_by_device: int) -> Meter:
        assert replica.slot is not None
        drops = self.board.counter("driver", f"{replica.name}.rx_drops") + lost_by_device
        # Of several processes the one that works most is what there can be no more of.
        whole = [c.name for c in self.keeper.components.values() if c.home == replica.home]
        work_ns = max(self.board.counter(name, "work_ns") for name in whole)
        return Meter(now, work_ns, drops, self.links[replica.slot].rx_percent())
