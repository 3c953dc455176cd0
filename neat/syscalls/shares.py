"""Which replica opens connections from which local ports, when replicas come and go.

neat/ports.py says how ports are shared. A change of the shares takes two steps, so that no two replicas ever
open a connection from one port. First every replica keeps only what it has in both shares, and says from
which ports it has connections (NEAT_OP_PORTS). When all have answered, each gets its new share, and hears
which of these ports another one still uses. Meanwhile everybody has some ports: a change disturbs nobody.

It is done anew by a successor of this server, which has lost the answers, and once a minute while ports of
one replica's share are used by another, as these may be free by now.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping

from neat import ports
from neat.abi.messages import Message, Op
from neat.syscalls.replicas import Replica

BITMAP_BYTES = 1 << 13  # a bit a port
AGAIN_S = 1.0  # until who has not answered is asked again
REFRESH_S = 60.0


class Shares:
    def __init__(
        self,
        replicas: Mapping[int, Replica],
        slots: Iterable[int],
        settled: Iterable[int],
        note: Callable[[], None],
    ) -> None:
        """`slots`: that are to share the ports; `settled`: that do. `note`: one of these has changed, for a
        successor."""
        self.replicas = replicas
        self.slots = sorted(slots)
        self.settled = sorted(settled)
        self.note = note
        self.in_use: dict[int, int] = {}  # bitmap of the ports that a slot's replica said it uses
        self.waiting: set[int] = set()  # slots whose answer is missing
        self.strays = False  # somebody uses a port of another one's share
        self.seq = random.getrandbits(31)  # answers to a predecessor may still be on their way
        self.look_at = 0.0

    def change(self, slots: Iterable[int]) -> None:
        """From now on these slots share the ports."""
        wanted = sorted(slots)
        if wanted != self.slots:
            self.slots = wanted
            self.note()
            self.begin()

    def begin(self) -> None:
        self.seq = self.seq % 0xFFFF_FFFF + 1
        self.look_at = time.monotonic() + AGAIN_S
        self.waiting = {replica.slot for replica in self.replicas.values() if replica.has_state}
        for slot in sorted(self.waiting):
            self._ask(self.replicas[slot])
        self._settle()

    def tell(self, replica: Replica) -> None:
        """It has said hello: it is new, or goes on with a state that knows a share."""
        if not self.waiting:
            self._give(replica)
        elif replica.slot not in self.waiting:
            self.waiting.add(replica.slot)
            self._ask(replica)

    def answer(self, replica: Replica, message: Message, fds: list[int]) -> None:
        if message.seq != self.seq or message.incarnation != replica.incarnation or not fds:
            return
        self.in_use[replica.slot] = int.from_bytes(os.pread(fds[0], BITMAP_BYTES, 0), "little")
        self.waiting.discard(replica.slot)
        self._settle()

    def lost(self, slot: int) -> None:
        """Its state is gone, with all its connections."""
        self.in_use.pop(slot, None)
        if slot in self.waiting:
            self.waiting.discard(slot)
            self._settle()

    def look(self) -> None:
        """Every second or so."""
        now = time.monotonic()
        if now < self.look_at:
            return
        if self.waiting:
            self.look_at = now + AGAIN_S
            for slot in self.waiting:
                self._ask(self.replicas[slot])
        elif self.strays:
            self.begin()

    def may_open(self, slot: int) -> bool:
        """Whether it has ports, and keeps them."""
        return slot in self.slots and slot in self.settled

    def owner(self, port: int) -> int:
        return ports.owner(port, self.slots)

    def _share(self, slot: int) -> tuple[int, int]:
        return ports.share(slot, self.slots) if slot in self.slots else (0, 0)

    def _ask(self, replica: Replica) -> None:
        replica.send(Message(Op.PORTS, seq=self.seq, u=self._share(replica.slot)))

    def _settle(self) -> None:
        if self.waiting:
            return
        self.look_at = time.monotonic() + REFRESH_S
        self.strays = any(self._strays(slot) for slot in self.in_use)
        if self.settled != self.slots:
            self.settled = self.slots
            self.note()
        for replica in self.replicas.values():
            if replica.has_state:
                self._give(replica)

    def _give(self, replica: Replica) -> None:
        fd = os.memfd_create("neat:ports", os.MFD_CLOEXEC)
        try:
            os.pwrite(fd, self._others(replica.slot).to_bytes(BITMAP_BYTES, "little"), 0)
            replica.send(Message(Op.PORTS, u=self._share(replica.slot)), fd)
        finally:
            os.close(fd)

    def _others(self, slot: int) -> int:
        """Ports that others use."""
        used = 0
        for other, bitmap in self.in_use.items():
            used |= bitmap if other != slot else 0
        return used

    def _strays(self, slot: int) -> bool:
        """Whether it uses a port that another one opens connections from now."""
        used = self.in_use[slot]
        return any(used >> port & 1 and self.owner(port) != slot for port in ports.CONNECT)
