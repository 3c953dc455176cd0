"""The replicas as the syscall server knows them, and requests that wait for all of their answers."""

import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from neat.abi.messages import Message
from neat.syscalls import wire

ANSWER_S = 1.0  # patience with replicas; after that the request goes on without them


@dataclass(eq=False)
class Replica:
    slot: int
    sock: socket.socket
    incarnation: int = 0  # 0: never heard of
    active: bool = False  # may get new connections: the supervisor says so
    down: bool = False  # its state is gone, and no other has said hello

    @property
    def known(self) -> bool:
        return self.incarnation != 0

    @property
    def has_state(self) -> bool:
        return self.known and not self.down

    def send(self, message: Message, *fds: int) -> bool:
        """False when it does not take it: it is stuck or dead, and its successor will be told everything."""
        message.replica, message.incarnation = self.slot, self.incarnation
        try:
            wire.send(self.sock, message, fds)
        except wire.Gone:
            return False
        return True


@dataclass(eq=False)
class Round:
    """One message to several replicas, and what to do when all have answered. `done(error)`: 0 or the first
    errno."""

    done: Callable[[int], None]
    waiting: set[int] = field(default_factory=set)  # slots
    error: int = 0
    until: float = 0.0


class Rounds:
    """All rounds that are under way, by the sequence number of their message."""

    def __init__(self) -> None:
        self.open: dict[int, Round] = {}
        self.seq = random.getrandbits(31)  # answers to a predecessor may still be on their way

    def start(
        self, targets: list[Replica], make: Callable[[], Message], fd: int, done: Callable[[int], None]
    ) -> None:
        """Send `make()` to each target; `done` is called once, perhaps at once."""
        self.seq = self.seq % 0xFFFF_FFFF + 1
        seq, entry = self.seq, Round(done, until=time.monotonic() + ANSWER_S)
        for replica in targets:
            message = make()
            message.seq = seq
            if replica.send(message, fd):
                entry.waiting.add(replica.slot)
        self.open[seq] = entry
        self._finish(seq)

    def answer(self, slot: int, message: Message) -> None:
        """One replica's answer. Unknown ones are of a predecessor, or too late."""
        entry = self.open.get(message.seq)
        if entry is not None and slot in entry.waiting:
            entry.waiting.discard(slot)
            entry.error = entry.error or max(message.error, 0)
            self._finish(message.seq)

    def lost(self, slot: int) -> None:
        """This replica is gone: nobody waits for it."""
        for seq, entry in list(self.open.items()):
            entry.waiting.discard(slot)
            self._finish(seq)

    def expire(self) -> None:
        now = time.monotonic()
        while self.open:
            seq, entry = next(iter(self.open.items()))  # the oldest: all have the same patience
            if entry.until > now:
                return
            entry.waiting.clear()
            self._finish(seq)

    def _finish(self, seq: int) -> None:
        entry = self.open.get(seq)
        if entry is not None and not entry.waiting:
            del self.open[seq]
            entry.done(entry.error)
