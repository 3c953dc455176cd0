"""The port table: who may bind what, by Linux's rules. Pure bookkeeping, no descriptors.

Which ports are chosen for whom, and which replica connects from a port: neat/ports.py.
"""

import errno
import random
from dataclasses import dataclass, field

from neat.ports import BIND


@dataclass(eq=False, slots=True)
class Binding:
    """One socket's hold on a port. `host` is None for the wildcard."""

    protocol: int
    host: bytes | None
    port: int
    uid: int
    reuse_address: bool = False
    reuse_port: bool = False
    listening: bool = False

    def overlaps(self, other: "Binding") -> bool:
        return self.host is None or other.host is None or self.host == other.host

    def conflicts(self, other: "Binding") -> bool:
        """Linux inet_bind_conflict: SO_REUSEADDR lets sockets share a port until one of them listens,
        SO_REUSEPORT sockets of one user always."""
        if not self.overlaps(other):
            return False
        if self.reuse_port and other.reuse_port and self.uid == other.uid:
            return False
        return not (self.reuse_address and other.reuse_address and not other.listening)


@dataclass
class PortTable:
    bindings: dict[tuple[int, int], list[Binding]] = field(default_factory=dict)
    order: list[int] = field(default_factory=lambda: random.sample(BIND, len(BIND)))
    turn: int = 0  # whose it is in `order`

    def bind(self, binding: Binding) -> int:
        """Take the port, choosing one when it is 0. Returns 0 or EADDRINUSE."""
        if binding.port == 0:
            port = self._free_port(binding.protocol)
            if port == 0:
                return errno.EADDRINUSE
            binding.port = port
        elif any(binding.conflicts(other) for other in self._on(binding)):
            return errno.EADDRINUSE
        self.bindings.setdefault((binding.protocol, binding.port), []).append(binding)
        return 0

    def restore(self, binding: Binding) -> None:
        """What a predecessor had allowed."""
        self.bindings.setdefault((binding.protocol, binding.port), []).append(binding)

    def listen(self, binding: Binding) -> int:
        """Only one socket may listen on a port, unless all that do have SO_REUSEPORT. Returns 0 or
        EADDRINUSE."""
        others = [other for other in self._on(binding) if other is not binding]
        if any(other.listening and binding.conflicts(other) for other in others):
            return errno.EADDRINUSE
        binding.listening = True
        return 0

    def release(self, binding: Binding) -> None:
        holders = self._on(binding)
        if binding in holders:
            holders.remove(binding)
        if not holders:
            self.bindings.pop((binding.protocol, binding.port), None)

    def _on(self, binding: Binding) -> list[Binding]:
        return self.bindings.get((binding.protocol, binding.port), [])

    def _free_port(self, protocol: int) -> int:
        """The next one in an order that nobody can guess (RFC 6056 §3.3): a port comes again only after all
        others, when the TIME-WAIT of the last connection from there gives way."""
        for _ in self.order:
            port = self.order[self.turn]
            self.turn = (self.turn + 1) % len(self.order)
            if (protocol, port) not in self.bindings:
                return port
        return 0
