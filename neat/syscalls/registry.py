"""All that the syscall server knows, and how it is kept and found again: applications, bound sockets,
replicas.

Each change that a successor must know of is noted in the journal.
"""

import collections
import os
import socket
from collections.abc import Callable
from typing import Any

from neat import parts
from neat.abi.messages import PROTO_TCP, PROTO_UDP, Address, Message, Op
from neat.config import Config
from neat.shm import rights
from neat.syscalls import record as records
from neat.syscalls import wire
from neat.syscalls.apps import (
    MAX_APPS,
    MAX_TOKENS,
    App,
    Channel,
    Session,
    make_channel,
    new_token,
    program_of,
    watch_pid,
)
from neat.syscalls.binds import Bind, Held
from neat.syscalls.ports import Binding, PortTable
from neat.syscalls.replicas import Replica
from neat.syscalls.shares import Shares

MAX_SHOWN = 16  # processes and sockets of one application, in `neat status`


class Registry:
    def __init__(
        self,
        config: Config,
        store: records.Store,
        replicas: dict[int, Replica],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called between the steps of what may take long."""
        self.config = config
        self.store = store
        self.journal = records.Journal(store)
        self.replicas = replicas
        self.beat = beat
        self.apps: dict[int, App] = {}
        self.tokens: dict[int, None] = {}  # that programs were given; the oldest first
        self.binds: dict[int, Bind] = {}
        self.ports = PortTable()
        self.shared: collections.Counter[int] = collections.Counter()  # sockets in all replicas, by protocol
        self.next_app = 1
        whole = list(range(config.replicas))
        self.shares = Shares(replicas, whole, whole, self.note_shares)
        self.held: dict[int, Held] = {}  # ports of sockets that were bound, then connected, by bind_id
        self.next_bind = 1

    # --- applications

    def app_of(self, token: int) -> App | None:
        return next((app for app in self.apps.values() if app.token == token), None)

    def add_app(self, uid: int, pid: int, token: int) -> App | None:
        """`token` 0: of our choosing. None when there are too many."""
        if len(self.apps) >= MAX_APPS:
            return None
        app = App(self.next_app, token or new_token(), uid, pid)
        self.next_app += 1
        self.apps[app.number] = app
        self.journal.note({"next.app": self.next_app, records.app_name(app.number): _app_record(app)})
        self._remember(token)
        return app

    def _remember(self, token: int) -> None:
        if not token or token in self.tokens:
            return
        self.tokens[token] = None
        self.journal.note({records.token_name(token): True})
        if len(self.tokens) > MAX_TOKENS:
            oldest = next(iter(self.tokens))
            del self.tokens[oldest]
            self.journal.note({records.token_name(oldest): None})

    def enter(self, app: App, session: Session) -> None:
        app.enter(session)
        self.journal.note({records.process_name(app.number, session.pid): True})

    def leave(self, session: Session) -> None:
        """Its connection is over."""
        app = session.app
        if app is not None and app.leave(session) and app.number in self.apps:
            self.forget_process(app, session.pid)

    def forget_process(self, app: App, pid: int) -> None:
        if pid not in app.processes and pid not in app.watched:
            self.journal.note({records.process_name(app.number, pid): None})

    def remove_app(self, app: App) -> None:
        """Nobody is left: replicas let its segments go when the last socket in them is closed."""
        for slot in app.channels:
            replica = self.replicas[slot]
            if replica.incarnation == app.channels[slot].incarnation:
                replica.send(Message(Op.APP_GONE, app=app.number))
        slots = list(app.channels)
        names = [records.app_name(app.number), *(records.process_name(app.number, p) for p in app.pids())]
        app.close()
        del self.apps[app.number]
        self.journal.note(dict.fromkeys(names))
        for slot in slots:
            self.store.drop(records.channel_name(app.number, slot))
            self.store.drop(records.bell_name(app.number, slot))

    def channel(self, app: App, replica: Replica) -> Channel:
        """The segment of this application in this incarnation of the replica, made and attached when it was
        not there."""
        channel = app.channels.get(replica.slot)
        if channel is None or channel.incarnation != replica.incarnation:
            old, channel = channel, make_channel(self.config, app.number, replica.slot, replica.incarnation)
            app.channels[replica.slot] = channel
            app.full = False  # until the next look
            if old is not None:
                old.close()
            self.store.put(records.channel_name(app.number, replica.slot), channel.fd)
            self.store.put(records.bell_name(app.number, replica.slot), channel.bell)
            self.journal.note({records.app_name(app.number): _app_record(app)})
        if not channel.attached:
            channel.attached = replica.send(self._attach(app), channel.fd, channel.bell)
        return channel

    def end_channels(self, slot: int, incarnation: int) -> None:
        """That incarnation of a replica is gone, and those before it: so are the segments that they had."""
        for app in self.apps.values():
            channel = app.channels.get(slot)
            if channel is not None and channel.incarnation <= incarnation:
                channel.end()

    def end_all_channels(self) -> None:
        """The stack is over."""
        for app in self.apps.values():
            for channel in app.channels.values():
                channel.end()

    def _attach(self, app: App) -> Message:
        c = self.config
        geometry = (c.sockets_per_app, c.socket_rx_bytes, c.socket_tx_bytes)
        return Message(Op.ATTACH, app=app.number, u=(*geometry, app.pid))

    def applications(self) -> list[dict[str, Any]]:
        """For `neat status`. `program` is that of the first process; `bound` are the sockets that have a
        port."""
        found = []
        for app in self.apps.values():
            pids = sorted(app.pids())
            bound = sorted({self.binds[number].describe() for number in app.binds})
            found.append(
                {
                    "app": app.number,
                    "uid": app.uid,
                    "program": program_of(app.pid) or program_of(*pids),
                    "pids": pids[:MAX_SHOWN],
                    "processes": len(pids),
                    "bound": bound[:MAX_SHOWN],
                    "sockets": len(app.binds),
                    "memory": app.memory(),
                }
            )
        return found

    # --- what an application may have

    def sweep(self, app: App) -> None:
        """Of an application without a living process: close the descriptors that it has put where nobody
        will ever take them out. If they were the last ones of its sockets, these hang up now."""
        for number in app.binds:
            rights.discard(self.binds[number].fd)
            self.beat()
        for slot, channel in app.channels.items():
            if channel.incarnation == self.replicas[slot].incarnation:
                self.replicas[slot].send(Message(Op.SWEEP, app=app.number))

    def look_at_memory(self, app: App) -> bool:
        """Whether it has as much as it may have, or more; the replicas hear of a change."""
        full = app.memory() >= self.config.app_memory
        if full != app.full:
            app.full = full
            for slot, channel in app.channels.items():
                if channel.incarnation == self.replicas[slot].incarnation:
                    self.replicas[slot].send(Message(Op.FULL, app=app.number, u=(int(full),)))
        return full

    def take_sock(self, app: App, protocol: int) -> int | None:
        """A shared index for one more socket in all replicas, if the application has fewer of that protocol
        than are left for all: so none takes more than half, and there is something for the next one."""
        most = self.config.max_udp if protocol == PROTO_UDP else self.config.max_listeners
        if app.shared[protocol] >= most - self.shared[protocol]:
            return None
        sock = app.take_sock()
        if sock is not None:
            self._count_sock(app, protocol, 1)
        return sock

    def give_sock_back(self, app: App, protocol: int, sock: int) -> None:
        if sock in app.socks:
            app.socks.discard(sock)
            self._count_sock(app, protocol, -1)

    def _count_sock(self, app: App, protocol: int, change: int) -> None:
        app.shared[protocol] += change
        self.shared[protocol] += change

    # --- bound sockets

    def add_bind(
        self, app: App, fd: int, local: Address, flags: int, binding: Binding, sock: int, inode: int
    ) -> Bind:
        """Takes fd over. The caller has the port."""
        bind = Bind(self.next_bind, app.number, fd, local, flags, binding, sock, inode=inode)
        self.next_bind += 1
        self.binds[bind.number] = bind
        app.binds.add(bind.number)
        self.store.put(records.bind_name(bind.number), fd)
        self.journal.note({"next.bind": self.next_bind, records.bind_name(bind.number): _bind_record(bind)})
        return bind

    def note_bind(self, bind: Bind) -> None:
        """It has changed."""
        self.journal.note({records.bind_name(bind.number): _bind_record(bind)})

    def bind_by_inode(self, app: App, inode: int) -> Bind | None:
        return next((b for b in map(self.binds.get, app.binds) if b and b.inode == inode), None)

    def hand_over(self, bind: Bind, replica: Replica) -> None:
        """A replica has it for itself now, until it says that the connection is over: so long it holds its
        port."""
        held = self.held[bind.number] = Held(replica.slot, bind.binding, bind.app)
        self._forget_bind(bind, {records.held_name(bind.number): _held_record(bind.number, held)})

    def port_free(self, number: int, slot: int) -> None:
        held = self.held.get(number)
        if held is not None and held.slot == slot:
            self._release_held([number])

    def ports_free(self, slot: int) -> None:
        """That replica is gone, with all its connections."""
        self._release_held([number for number, held in self.held.items() if held.slot == slot])

    def _release_held(self, numbers: list[int]) -> None:
        for number in numbers:
            self.ports.release(self.held.pop(number).binding)
        if numbers:
            self.journal.note(dict.fromkeys(map(records.held_name, numbers)))

    def remove_bind(self, bind: Bind) -> None:
        """Its application's end is closed. Replicas see a hang-up by themselves."""
        self.ports.release(bind.binding)
        self._forget_bind(bind, {})

    def _forget_bind(self, bind: Bind, instead: dict[str, records.HeldRecord]) -> None:
        del self.binds[bind.number]
        app = self.apps.get(bind.app)
        if app is not None:
            app.binds.discard(bind.number)
            self.give_sock_back(app, bind.binding.protocol, bind.sock)
        os.close(bind.fd)
        self.journal.note({records.bind_name(bind.number): None, **instead})
        self.store.drop(records.bind_name(bind.number))

    def widen(self, bind: Bind) -> None:
        """Give a listener's stack end the longest queue that is allowed: it is the accept queue."""
        with socket.socket(fileno=os.dup(bind.fd)) as copy:
            wire.widen(copy)

    # --- replicas

    def active(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.active]

    def known(self) -> list[Replica]:
        """Those that must hear of new sockets: also one that is not active yet but has had its welcome. One
        whose state is gone has a successor that hears of everything, or none."""
        return [replica for replica in self.replicas.values() if replica.has_state]

    def serving(self, bind: Bind) -> list[Replica]:
        """Those of them that have sockets of its protocol."""
        return [replica for replica in self.known() if self.serves(replica, bind)]

    def serves(self, replica: Replica, bind: Bind) -> bool:
        serves = parts.serves_udp if bind.udp else parts.serves_tcp
        return serves(self.config, replica.slot)

    def note_replica(self, replica: Replica) -> None:
        """It has changed."""
        known = records.ReplicaRecord(replica.slot, replica.incarnation, replica.active)
        self.journal.note({records.replica_name(replica.slot): known})

    def lose(self, replica: Replica, incarnation: int) -> None:
        """The states up to that incarnation are gone, with all their connections and segments."""
        self.ports_free(replica.slot)
        self.end_channels(replica.slot, incarnation)
        self.shares.lost(replica.slot)

    def note_shares(self) -> None:
        self.journal.note({records.PORTS: records.PortsRecord(self.shares.slots, self.shares.settled)})

    def may_connect(self, replica: Replica) -> bool:
        """Whether new connections may be opened there."""
        return replica.active and self.shares.may_open(replica.slot)

    def bitmap(self) -> int:
        return sum(1 << replica.slot for replica in self.active() if self.may_connect(replica))

    def opens_from(self, port: int) -> Replica | None:
        """The replica that opens connections from a port that a socket was bound to: where there are some
        from there, else whose share it is in."""
        slots = [held.slot for held in self.held.values() if held.binding.port == port]
        return self.replicas.get(slots[-1] if slots else self.shares.owner(port))

    def brief(self, replica: Replica) -> bool:
        """Tell a replica of all sockets that it must have. Hearing of one again changes nothing.

        False when it did not take all of it; it will ask again.
        """
        for app in self.apps.values():
            channel = app.channels.get(replica.slot)
            if channel is not None:
                channel.attached = False
            app.full = False  # until the next look
        for bind in self.binds.values():
            if bind.in_replicas and self.serves(replica, bind):
                self.beat()
                attached = self.channel(self.apps[bind.app], replica).attached
                if not attached or not replica.send(bind.message(), bind.fd):
                    return False
        self.shares.tell(replica)
        return True

    # --- across restarts

    def load(self) -> None:
        """Take over what the predecessor left. What has lost its descriptor is forgotten."""
        left = self.journal.load()
        for known in records.all_of(left, "replica", records.ReplicaRecord):
            if known.slot in self.replicas:
                replica = self.replicas[known.slot]
                replica.incarnation, replica.active = known.incarnation, known.active
        for shared in records.all_of(left, records.PORTS, records.PortsRecord):
            self.shares.slots, self.shares.settled = shared.slots, shared.settled
        for app_entry in records.all_of(left, "app", records.AppRecord):
            self._load_app(app_entry)
        for name in left:
            kind, _, rest = name.partition(".")
            if kind == "process":
                self._load_process(*map(int, rest.split(".")))
            elif kind == "token":
                self.tokens[int(rest, 16)] = None
        for bind_entry in records.all_of(left, "bind", records.BindRecord):
            self._load_bind(bind_entry)
        for kept in records.all_of(left, "held", records.HeldRecord):
            self._load_held(kept)
        self.next_app = max([left.get("next.app", 1), *(number + 1 for number in self.apps)])
        self.next_bind = max([left.get("next.bind", 1), *(number + 1 for number in self.binds)])
        wanted = {records.bind_name(number) for number in self.binds}
        for app in self.apps.values():
            wanted |= {records.channel_name(app.number, k) for k in app.channels}
            wanted |= {records.bell_name(app.number, k) for k in app.channels}
        for name in self.store.list("bind.") + self.store.list("app."):
            if name not in wanted:
                self.store.drop(name)

    def _load_app(self, entry: records.AppRecord) -> None:
        app = self.apps[entry.number] = App(entry.number, entry.token, entry.uid, entry.pid)
        for place in entry.channels:
            fd = self.store.get(records.channel_name(app.number, place.replica))
            bell = self.store.get(records.bell_name(app.number, place.replica))
            if fd is not None and bell is not None and place.replica in self.replicas:
                app.channels[place.replica] = Channel(fd, bell, place.incarnation)
            else:
                wire.close_all([left for left in (fd, bell) if left is not None])

    def _load_process(self, number: int, pid: int) -> None:
        app = self.apps.get(number)
        if app is None or not watch_pid(app, pid):
            self.journal.note({records.process_name(number, pid): None})

    def _load_held(self, entry: records.HeldRecord) -> None:
        host = bytes.fromhex(entry.host) or None
        binding = Binding(PROTO_TCP, host, entry.port, entry.uid, entry.reuse_address, entry.reuse_port)
        self.ports.restore(binding)
        self.held[entry.number] = Held(entry.slot, binding, entry.app)

    def _load_bind(self, entry: records.BindRecord) -> None:
        app, fd = self.apps.get(entry.app), self.store.get(records.bind_name(entry.number))
        if fd is None or app is None:
            self.journal.note({records.bind_name(entry.number): None})
            return
        local = Address.unpack(bytes.fromhex(entry.address))
        host = None if local.wildcard else local.raw
        binding = Binding(
            entry.protocol, host, entry.port, entry.uid, bool(entry.flags & 1), bool(entry.flags & 2)
        )
        binding.listening = entry.listening
        self.ports.restore(binding)
        bind = Bind(
            entry.number,
            entry.app,
            fd,
            local,
            entry.flags,
            binding,
            entry.sock,
            entry.backlog,
            entry.inode,
            entry.defer_accept_s,
        )
        self.binds[bind.number] = bind
        app.binds.add(bind.number)
        if bind.sock >= 0:
            app.socks.add(bind.sock)
            self._count_sock(app, binding.protocol, 1)


def _app_record(app: App) -> records.AppRecord:
    channels = [records.ChannelRecord(k, channel.incarnation) for k, channel in app.channels.items()]
    return records.AppRecord(app.number, app.token, app.uid, app.pid, channels)


def _bind_record(bind: Bind) -> records.BindRecord:
    return records.BindRecord(
        bind.number,
        bind.app,
        bind.binding.protocol,
        bind.binding.port,
        bind.local.pack().hex(),
        bind.flags,
        bind.binding.uid,
        bind.sock,
        bind.backlog,
        bind.binding.listening,
        bind.inode,
        bind.defer_accept_s,
    )


def _held_record(number: int, held: Held) -> records.HeldRecord:
    binding = held.binding
    host = binding.host.hex() if binding.host is not None else ""
    return records.HeldRecord(
        number,
        held.slot,
        binding.port,
        host,
        binding.uid,
        binding.reuse_address,
        binding.reuse_port,
        held.app,
    )
