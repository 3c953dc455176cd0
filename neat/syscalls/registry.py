"""All that the syscall server knows, and how it is kept and found again: applications, bound sockets,
replicas.

Each change that a successor must know of ends in `save`.
"""

import os
import socket
from typing import Any

from neat.config import Config
from neat.shim.messages import PROTO_TCP, Address, Message, Op
from neat.syscalls import record as records
from neat.syscalls import wire
from neat.syscalls.apps import MAX_APPS, App, Channel, make_channel, new_token, program_of, watch_pid
from neat.syscalls.binds import Bind, Held
from neat.syscalls.ports import Binding, PortTable
from neat.syscalls.replicas import Replica

MAX_SHOWN = 16  # processes and sockets of one application, in `neat status`


class Registry:
    def __init__(self, config: Config, store: records.Store, replicas: dict[int, Replica]) -> None:
        self.config = config
        self.store = store
        self.replicas = replicas
        self.apps: dict[int, App] = {}
        self.binds: dict[int, Bind] = {}
        self.ports = PortTable()
        self.next_app = 1
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
        return app

    def remove_app(self, app: App) -> None:
        """Nobody is left: replicas let its segments go when the last socket in them is closed."""
        for slot in app.channels:
            replica = self.replicas[slot]
            if replica.incarnation == app.channels[slot].incarnation:
                replica.send(Message(Op.APP_GONE, app=app.number))
        slots = list(app.channels)
        app.close()
        del self.apps[app.number]
        self.save()
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
            if old is not None:
                old.close()
            self.store.put(records.channel_name(app.number, replica.slot), channel.fd)
            self.store.put(records.bell_name(app.number, replica.slot), channel.bell)
            self.save()
        if not channel.attached:
            channel.attached = replica.send(self._attach(app), channel.fd, channel.bell)
        return channel

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
                }
            )
        return found

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
        self.save()
        return bind

    def bind_by_inode(self, app: App, inode: int) -> Bind | None:
        return next((b for b in map(self.binds.get, app.binds) if b and b.inode == inode), None)

    def hand_over(self, bind: Bind, replica: Replica) -> None:
        """A replica has it for itself now, until it says that the connection is over: so long it holds its
        port."""
        self.held[bind.number] = Held(replica.slot, bind.binding)
        self._forget_bind(bind)

    def port_free(self, number: int, slot: int) -> None:
        held = self.held.get(number)
        if held is not None and held.slot == slot:
            del self.held[number]
            self.ports.release(held.binding)
            self.save()

    def ports_free(self, slot: int) -> None:
        """That replica is gone, with all its connections."""
        for number, held in list(self.held.items()):
            if held.slot == slot:
                del self.held[number]
                self.ports.release(held.binding)

    def remove_bind(self, bind: Bind) -> None:
        """Its application's end is closed. Replicas see a hang-up by themselves."""
        self.ports.release(bind.binding)
        self._forget_bind(bind)

    def _forget_bind(self, bind: Bind) -> None:
        del self.binds[bind.number]
        app = self.apps.get(bind.app)
        if app is not None:
            app.binds.discard(bind.number)
            app.socks.discard(bind.sock)
        os.close(bind.fd)
        self.save()
        self.store.drop(records.bind_name(bind.number))

    def widen(self, bind: Bind) -> None:
        """Give a listener's stack end the longest queue that is allowed: it is the accept queue."""
        with socket.socket(fileno=os.dup(bind.fd)) as copy:
            wire.widen(copy)

    # --- replicas

    def active(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.active]

    def known(self) -> list[Replica]:
        """Those that must hear of new sockets: also one that is not active yet but has had its welcome."""
        return [replica for replica in self.replicas.values() if replica.known]

    def bitmap(self) -> int:
        return sum(1 << replica.slot for replica in self.active())

    def brief(self, replica: Replica) -> bool:
        """Tell a replica of all sockets that it must have. Hearing of one again changes nothing.

        False when it did not take all of it; it will ask again.
        """
        for app in self.apps.values():
            channel = app.channels.get(replica.slot)
            if channel is not None:
                channel.attached = False
        for bind in self.binds.values():
            if bind.in_replicas:
                attached = self.channel(self.apps[bind.app], replica).attached
                if not attached or not replica.send(bind.message(), bind.fd):
                    return False
        return True

    # --- across restarts

    def save(self) -> None:
        records.save(
            self.store,
            records.Record(
                next_app=self.next_app,
                next_bind=self.next_bind,
                apps=[
                    records.AppRecord(
                        app.number,
                        app.token,
                        app.uid,
                        app.pid,
                        sorted(app.pids()),
                        [
                            records.ChannelRecord(k, channel.incarnation)
                            for k, channel in app.channels.items()
                        ],
                    )
                    for app in self.apps.values()
                ],
                binds=[
                    records.BindRecord(
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
                    for bind in self.binds.values()
                ],
                held=[
                    records.HeldRecord(
                        number,
                        held.slot,
                        held.binding.port,
                        held.binding.host.hex() if held.binding.host is not None else "",
                        held.binding.uid,
                        held.binding.reuse_address,
                        held.binding.reuse_port,
                    )
                    for number, held in self.held.items()
                ],
                replicas=[
                    records.ReplicaRecord(r.slot, r.incarnation, r.active) for r in self.replicas.values()
                ],
            ),
        )

    def load(self) -> None:
        """Take over what the predecessor left. What has lost its descriptor is forgotten."""
        left = records.load(self.store)
        self.next_app, self.next_bind = left.next_app, left.next_bind
        for known in left.replicas:
            if known.slot in self.replicas:
                replica = self.replicas[known.slot]
                replica.incarnation, replica.active = known.incarnation, known.active
        for app_entry in left.apps:
            self._load_app(app_entry)
        for bind_entry in left.binds:
            self._load_bind(bind_entry)
        for kept in left.held:
            host = bytes.fromhex(kept.host) or None
            binding = Binding(PROTO_TCP, host, kept.port, kept.uid, kept.reuse_address, kept.reuse_port)
            self.ports.restore(binding)
            self.held[kept.number] = Held(kept.slot, binding)
        wanted = {records.bind_name(number) for number in self.binds}
        for app in self.apps.values():
            wanted |= {records.channel_name(app.number, k) for k in app.channels}
            wanted |= {records.bell_name(app.number, k) for k in app.channels}
        for name in self.store.list("bind.") + self.store.list("app."):
            if name not in wanted:
                self.store.drop(name)

    def _load_app(self, entry: records.AppRecord) -> None:
        app = self.apps[entry.number] = App(entry.number, entry.token, entry.uid, entry.pid)
        for pid in entry.pids:
            watch_pid(app, pid)
        for place in entry.channels:
            fd = self.store.get(records.channel_name(app.number, place.replica))
            bell = self.store.get(records.bell_name(app.number, place.replica))
            if fd is not None and bell is not None and place.replica in self.replicas:
                app.channels[place.replica] = Channel(fd, bell, place.incarnation)
            else:
                wire.close_all([left for left in (fd, bell) if left is not None])

    def _load_bind(self, entry: records.BindRecord) -> None:
        app, fd = self.apps.get(entry.app), self.store.get(records.bind_name(entry.number))
        if fd is None or app is None:
            return
        local = Address.unpack(bytes.fromhex(entry.address))
        host = None if local.wildcard else local.raw
        binding = Binding(
            entry.protocol, host, entry.port, entry.uid, bool(entry.flags & 1), bool(entry.flags & 2)
        )
        binding.listening = entry.listening
        self.ports.bindings.setdefault((binding.protocol, binding.port), []).append(binding)
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
