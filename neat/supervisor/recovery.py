"""What follows from a death: whose doing it was, and whether the state of a replica goes on in its successor
(docs/contracts/start.md, "What a death means")."""

import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass

from neat import rundir
from neat.replica.sizes import holder_of
from neat.shm.steering import SLOTS
from neat.supervisor import process
from neat.supervisor.component import Component, Phase
from neat.supervisor.inventory import Inventory

STILLBORN = 2  # successors that died by themselves before they were ready: then it is the state


@dataclass(frozen=True)
class Death:
    """Of one process."""

    what: str  # for the event log: died, hung, stopped
    cause: str  # in words
    own: bool  # by its own doing: it may happen again
    wanted: bool
    was_ready: bool


def describe_death(component: Component, status: int | None) -> Death:
    """`status`: as subprocess's returncode; None when its parent was a supervisor that is gone.

    SIGKILL comes from outside. A process that was stopped did not stop itself.
    """
    was_ready = component.phase is Phase.RUNNING or component.wanted
    cause = component.kill_reason or ("status not known" if status is None else process.describe_exit(status))
    if component.wanted:
        # What it dies of while it finishes its turn is a crash for its successor.
        own = status is not None and status < 0 and status != -signal.SIGKILL
        return Death("stopped", component.kill_reason, own, True, was_ready)
    if component.kill_reason:
        return Death("hung", cause, component.kill_own, False, was_ready)
    own = status is not None and status != -signal.SIGKILL
    return Death("died", cause, own, False, was_ready)


class States:
    """The state segments of the replicas. Every method takes a component and does nothing for one that is no
    replica."""

    def __init__(self, inventory: Inventory, *, stateful: bool) -> None:
        self.inventory = inventory
        self.stateful = stateful

    def find(self, replica: Component) -> None:
        """What a predecessor of ours left: a number in the segment, if its processes go on with it."""
        if replica.slot is not None:
            kept = self.inventory.state_number(replica.slot) if self.stateful else replica.incarnation
            replica.state = kept

    def begin(self, replica: Component) -> None:
        """A new state, under the number of the process that is to begin it."""
        if replica.slot is not None:
            self.inventory.renew_state(replica.slot, replica.incarnation)
            replica.state = replica.incarnation
            replica.stillborn = 0

    def fault(self, replica: Component, death: Death) -> str:
        """Why nobody can go on with the state of a replica that died; empty when its successor does."""
        if not self.stateful or not replica.state:
            return "stateless recovery"
        if replica.state_fault:
            return replica.state_fault
        if replica.slot is not None and self.inventory.state_number(replica.slot) != replica.state:
            return "ended with its process"  # it was told to end, by somebody else
        if death.own and not death.was_ready:
            replica.stillborn += 1
        if replica.stillborn >= STILLBORN:
            return f"{replica.stillborn} processes died of it before they were ready"
        return ""

    def give_up(self, replica: Component, tell: Callable[[Component], None], pids: set[int]) -> None:
        """Nobody goes on with it. The segment says so first, so that whoever supervises from now on agrees;
        `tell` the others, then what its holders hold is hung up. `pids`: of all components."""
        if replica.slot is None:
            return
        self.inventory.void_state(replica.slot)
        tell(replica)
        replica.state, replica.state_fault, replica.blame, replica.absent_at = 0, "", False, None
        if self.stateful:
            process.end(orphans(self.holders()) - pids)

    def holders(self) -> set[tuple[int, int]]:
        """pid and start ticks of those who hold the descriptors of the states that are kept, as replicas
        say."""
        kept = [k for k in range(SLOTS) if self.inventory.state_number(k)]
        found = [holder_of(self.inventory.fds[f"state{k}"]) for k in kept] if self.stateful else []
        return {holder for holder in found if holder is not None}


def orphans(holders: Collection[tuple[int, int]]) -> set[int]:
    """The guardian's children, other than us and these. Those that are no component's are half-done starts of
    our predecessor, which nobody would ever watch, and holders of what is over."""
    named = {pid for pid, ticks in holders if rundir.start_ticks(pid) == ticks}
    return set(process.children(os.getppid())) - {os.getpid()} - named
