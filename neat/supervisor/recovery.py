"""What follows from a death: whose doing it was, and whether the state of a replica goes on in its successor
(docs/contracts/start.md, "What a death means")."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from neat import rundir
from neat.replica.sizes import holder_of
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
        if death.own and not death.was_ready:
            replica.stillborn += 1
        if replica.stillborn >= STILLBORN:
            return f"{replica.stillborn} processes died of it before they were ready"
        return ""

    def give_up(self, replica: Component, tell: Callable[[Component], None]) -> None:
        """Nobody goes on with it. The segment says so first, so that whoever supervises from now on agrees;
        `tell` the others, then what its holder holds is hung up."""
        if replica.slot is None:
            return
        holder = self.holder(replica.slot)
        self.inventory.void_state(replica.slot)
        tell(replica)
        replica.state, replica.state_fault, replica.blame, replica.absent_at = 0, "", False, None
        if holder is not None:
            kill_named(*holder)

    def holder(self, slot: int) -> tuple[int, int] | None:
        """pid and start ticks of the process that holds the descriptors of a state that is kept, as a replica
        says."""
        if not self.stateful or not self.inventory.state_number(slot):
            return None
        return holder_of(self.inventory.fds[f"state{slot}"])

    def holders(self) -> set[tuple[int, int]]:
        """Of all states that are kept."""
        return {found for k in range(self.inventory.config.replicas) if (found := self.holder(k)) is not None}


def kill_named(pid: int, ticks: int) -> None:
    """SIGKILL to the child of the guardian with this pid and these start ticks, and to no other: a replica
    has written them."""
    if pid not in process.children(os.getppid()):
        return
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return
    try:
        if ticks and rundir.start_ticks(pid) == ticks:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
