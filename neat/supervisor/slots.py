"""The slots of the replicas, as the rest of the stack hears of them: the driver by the steering segment and
its bell, the syscall server by messages (ARCHITECTURE.md, "How a component starts")."""

from collections.abc import Collection, Iterable

from neat.shm.doorbell import ring as ring_doorbell
from neat.shm.steering import SlotState, Steering
from neat.supervisor.component import Component, Phase


class Slots:
    """Every method takes a component and does nothing for one that is no replica. A UDP part is one to the
    syscall server only: packets are steered to the slot of its replica."""

    def __init__(self, steering: Steering, driver_bell: int, syscall: Component) -> None:
        self.steering = steering
        self.driver_bell = driver_bell
        self.syscall = syscall

    def starting(self, replica: Component) -> None:
        """A slot that had nobody yet will have somebody."""
        slot = replica.packets_to
        if slot is not None and self.steering.slot(slot).state == SlotState.SLOT_ABSENT:
            self.steering.set_state(slot, SlotState.SLOT_STARTING)

    def active(self, replica: Component) -> None:
        """It takes packets from now on, and new flows, if it is to stay."""
        if replica.packets_to is not None:
            state = SlotState.SLOT_TERMINATING if replica.leaving else SlotState.SLOT_ACTIVE
            self.steering.set_state(replica.packets_to, state)
            ring_doorbell(self.driver_bell)
        if replica.slot is not None:
            self._tell("replica_up", replica)

    def absent(self, replica: Component) -> None:
        """It will not be back at once, or not stay: new flows go to the others, its own ones still there."""
        slot = replica.packets_to
        if slot is not None and self.steering.slot(slot).state == SlotState.SLOT_ACTIVE:
            self.steering.set_state(slot, SlotState.SLOT_TERMINATING)
            ring_doorbell(self.driver_bell)

    def void(self, replica: Component) -> None:
        """Its state is lost: no new flow goes there, its old ones are void, and its applications are
        told."""
        if replica.packets_to is not None:
            self.steering.set_state(replica.packets_to, SlotState.SLOT_RECOVERING)
            self.steering.bump_epoch(replica.packets_to)
            ring_doorbell(self.driver_bell)  # it acts on the new epoch when it wakes
        if replica.slot is not None:
            self._tell("replica_down", replica)

    def disown(self, replica: Component) -> None:
        """Its flows are nobody's, and it gets no new ones."""
        if replica.packets_to is not None:
            self.steering.bump_epoch(replica.packets_to)
            ring_doorbell(self.driver_bell)

    def gone(self, replica: Component) -> None:
        """Nobody will be there again, or somebody else altogether. It was void before."""
        if replica.packets_to is not None:
            self.steering.set_state(replica.packets_to, SlotState.SLOT_ABSENT)

    def share(self, components: Iterable[Component]) -> None:
        """Tell who is to have a share of the local ports, and to open connections."""
        slots = [c.slot for c in components if c.steered and not c.leaving]
        self.syscall.tell({"op": "slots", "slots": slots})

    def say_again(self, components: Collection[Component]) -> None:
        """A new syscall server must know which replicas there are, and which are active."""
        self.share(components)
        for component in components:
            if component.slot is not None and component.phase is Phase.RUNNING:
                self._tell("replica_up", component)

    def _tell(self, op: str, replica: Component) -> None:
        """Whoever has connections knows a replica by the number of its state."""
        number = replica.state or replica.incarnation
        self.syscall.tell({"op": op, "replica": replica.slot, "incarnation": number})
