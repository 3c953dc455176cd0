"""Bound sockets: the stack's ends that the syscall server holds, with their ports."""

from dataclasses import dataclass

from neat.abi.messages import PROTO_UDP, Address, Message, Op
from neat.syscalls.ports import Binding


@dataclass(eq=False)
class Held:
    """The port of a socket of `app` that was bound and then connected: replica `slot` has the rest."""

    slot: int
    binding: Binding
    app: int


@dataclass(eq=False)
class Bind:
    number: int  # bind_id
    app: int
    fd: int  # the stack's end
    local: Address
    flags: int  # NEAT_BIND_*
    binding: Binding
    sock: int = -1  # shared index: of UDP sockets from birth, of TCP sockets from listen() on
    backlog: int = 0
    inode: int = 0  # of the application's end; 0: not said
    defer_accept_s: int = 0  # TCP_DEFER_ACCEPT

    @property
    def udp(self) -> bool:
        return self.binding.protocol == PROTO_UDP

    @property
    def in_replicas(self) -> bool:
        return self.sock >= 0

    def describe(self) -> str:
        """For `neat status`: `tcp 0.0.0.0:80`."""
        return f"{'udp' if self.udp else 'tcp'} {self.local.host}:{self.local.port}"

    def message(self) -> Message:
        """What a replica is told to have its subsocket."""
        return Message(
            Op.ADD_UDP if self.udp else Op.ADD_LISTENER,
            app=self.app,
            sock=self.sock,
            bind_id=self.number,
            backlog=self.backlog,
            options=self.flags,
            local=self.local,
            u=(self.defer_accept_s,),
        )
