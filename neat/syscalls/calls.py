"""What applications ask for: one method for each op of control.h. Each but `refused` answers once, at once or
when the replicas have.

An errno is raised as Refused; everything in a message is checked before it is used.
"""

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Callable

from neat.abi.messages import PROTO_TCP, PROTO_UDP, REPLY, Address, BindFlag, Message, Op
from neat.config import Config
from neat.syscalls import wire
from neat.syscalls.apps import (
    MAX_BINDS,
    MAX_BINDS_PER_APP,
    MAX_PENDING_PER_SESSION,
    MAX_SESSIONS_PER_APP,
    App,
    Session,
)
from neat.syscalls.binds import Bind
from neat.syscalls.ports import Binding
from neat.syscalls.refusals import Refusals
from neat.syscalls.registry import Registry
from neat.syscalls.replicas import Replica, Rounds

SOMAXCONN = 4096


class Refused(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, str(number)))
        self.errno = number


class Calls:
    def __init__(self, config: Config, registry: Registry, rounds: Rounds, hooks: "Hooks") -> None:
        self.config = config
        self.registry = registry
        self.rounds = rounds
        self.hooks = hooks
        self.refusals = Refusals()
        self.address = Address.ipv4(str(config.interface.ip), 0)
        self.ops: dict[int, Callable[[Session, Message, list[int]], None]] = {
            Op.HELLO: self.hello,
            Op.JOIN: self.join,
            Op.SEGMENT: self.segment,
            Op.BIND: self.bind,
            Op.LISTEN: self.listen,
            Op.CONNECT: self.connect,
            Op.PREFER: self.prefer,
            Op.POLLER: self.poller,
            Op.CORD: self.cord,
            Op.ADOPT: self.adopt,
            Op.REFUSED: self.refused,
        }

    def serve(self, session: Session, message: Message, fds: list[int]) -> None:
        """Carry out one request. Descriptors that are taken over are taken out of `fds`. wire.Gone: give
        the session up."""
        call = self.ops.get(message.op)
        if call is None or message.flags & REPLY:
            self.hooks.count("drop_bad_message")
            return
        self.hooks.count("requests")
        try:
            if session.app is None and message.op not in (Op.HELLO, Op.JOIN):
                raise Refused(errno.ENOTCONN)
            if session.app is not None and message.app not in (0, session.app.number):
                raise Refused(errno.EPERM)
            call(session, message, fds)
        except (Refused, OSError) as refused:
            # OSError: this process is out of descriptors or memory, the next request may fare better.
            self.hooks.count("errors")
            wire.send(session.sock, message.reply(refused.errno or errno.EIO))

    # --- registration

    def hello(self, session: Session, message: Message, _fds: list[int]) -> None:
        if session.app is None:
            app = self.registry.app_of(message.token) if message.token else None
            if app is None and not (session.trusted or message.token in self.registry.tokens):
                raise Refused(errno.EACCES)
            if app is None:
                app = self.registry.add_app(session.uid, session.pid, message.token)
                if app is None:
                    raise Refused(errno.ENOBUFS)
                self.hooks.count("apps_registered")
            # Who knows the token is that application, as with JOIN: a program that another user goes on as,
            # however long after the one that had registered it.
            self._enter(session, app)
        elif message.token not in (0, session.app.token):
            raise Refused(errno.EISCONN)
        self._greet(session, message)

    def join(self, session: Session, message: Message, _fds: list[int]) -> None:
        app = self.registry.apps.get(message.app)
        if app is None or app.token != message.token:
            raise Refused(errno.ESRCH)
        if session.app not in (None, app):
            raise Refused(errno.EISCONN)
        self.hooks.count("apps_rejoined")
        self._enter(session, app)
        self._greet(session, message)

    def _enter(self, session: Session, app: App) -> None:
        if len(app.sessions) >= MAX_SESSIONS_PER_APP:
            raise Refused(errno.ENOBUFS)
        if session.app is None:
            self.registry.enter(app, session)
            self.hooks.watch_process(session)
        if session.pid in app.watched:
            self.hooks.forget_pid(app, session.pid)

    def _greet(self, session: Session, message: Message) -> None:
        app = session.app
        assert app is not None
        wire.send(
            session.sock,
            message.reply(
                app=app.number,
                token=app.token,
                replica=self.registry.bitmap(),
                local=self.address,
                prefix=self.config.interface.network.prefixlen,
                u=self._geometry(),
            ),
        )

    def _geometry(self) -> tuple[int, int, int]:
        c = self.config
        return c.sockets_per_app, c.socket_rx_bytes, c.socket_tx_bytes

    def prefer(self, session: Session, message: Message, _fds: list[int]) -> None:
        wire.send(session.sock, message.reply(replica=self.registry.bitmap()))

    def refused(self, _session: Session, message: Message, _fds: list[int]) -> None:
        self.refusals.add(message)
        self.hooks.count("refused_by_preload")

    def segment(self, session: Session, message: Message, _fds: list[int]) -> None:
        replica = self.registry.replicas.get(message.replica)
        if replica is None or not replica.known:
            raise Refused(errno.ENXIO)
        if message.incarnation not in (0, replica.incarnation):
            raise Refused(errno.ESTALE)
        channel = self.registry.channel(self._app(session), replica)
        if not channel.attached:
            raise Refused(errno.EAGAIN)
        reply = message.reply(
            app=self._app(session).number,
            replica=replica.slot,
            incarnation=channel.incarnation,
            u=(*self._geometry(), self.config.mtu),
        )
        wire.send(session.sock, reply, (channel.fd, channel.bell))

    def poller(self, session: Session, message: Message, _fds: list[int]) -> None:
        """Make its bell, give an end to each, and forget it: with that incarnation the bell hangs up, and the
        application comes again."""
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._join(session, message, Op.ADD_POLLER, ours, theirs, message.u[0])
        self.hooks.count("pollers")

    def cord(self, session: Session, message: Message, _fds: list[int]) -> None:
        """Likewise."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = secrets.randbits(32) | 1  # a successor of this server gives others
        self._join(session, message, Op.ADD_CORD, ours.detach(), theirs.detach(), number)
        self.hooks.count("cords")

    def _join(self, session: Session, message: Message, op: Op, ours: int, theirs: int, number: int) -> None:
        """Give one end of something to the application, the other to the replica that it names. Both are
        closed here."""
        ends = [ours, theirs]
        try:
            app, replica = self._app(session), self.registry.replicas.get(message.replica)
            if replica is None or not replica.known:
                raise Refused(errno.ENXIO)
            if message.incarnation != replica.incarnation:
                raise Refused(errno.ESTALE)
            if not self.registry.channel(app, replica).attached:
                raise Refused(errno.EAGAIN)
            if not replica.send(Message(op, app=app.number, u=(number,)), theirs):
                raise Refused(errno.ENETDOWN)
            reply = message.reply(replica=replica.slot, incarnation=replica.incarnation, u=(number,))
            wire.send(session.sock, reply, (ours,))
        finally:
            wire.close_all(ends)

    # --- bound sockets

    def bind(self, session: Session, message: Message, fds: list[int]) -> None:
        app, local = self._app(session), message.local
        if not fds or not wire.is_stack_end(fds[0]):
            raise Refused(errno.EBADF)
        self._check_pending(session)
        if local.protocol not in (PROTO_TCP, PROTO_UDP):
            raise Refused(errno.EPROTONOSUPPORT)
        host = self._local_host(local)
        self._check_memory(app)
        if len(app.binds) >= min(MAX_BINDS_PER_APP, MAX_BINDS - len(self.registry.binds)):
            raise Refused(errno.ENOBUFS)  # as with Registry.take_sock
        flags = message.options
        binding = Binding(
            local.protocol,
            host,
            local.port,
            session.uid,
            bool(flags & BindFlag.REUSEADDR),
            bool(flags & BindFlag.REUSEPORT),
        )
        sock = -1
        if local.protocol == PROTO_UDP:
            sock = self._take_sock(app, PROTO_UDP)
        error = self.registry.ports.bind(binding)
        if error and self._drop_closed(binding):
            error = self.registry.ports.bind(binding)
        if error:
            self.registry.give_sock_back(app, local.protocol, sock)
            raise Refused(error)
        bound = Address(4, local.protocol, binding.port, 0, local.raw)
        inode = message.u[0] | message.u[1] << 32
        entry = self.registry.add_bind(app, fds.pop(0), bound, flags, binding, sock, inode)
        self.hooks.watch_bind(entry)
        self.hooks.count("binds")

        def answer(error: int) -> None:
            self._answer(
                session,
                message,
                error,
                bind_id=entry.number,
                local=bound,
                sock=max(entry.sock, 0),
                replica=targets,
            )

        targets = sum(1 << replica.slot for replica in self.registry.serving(entry))
        if entry.udp:
            self._spread(session, entry, answer)
        else:
            answer(0)

    def _drop_closed(self, wanted: Binding) -> bool:
        """close() and the next bind() are in order on Linux: a socket on that port whose hang-up we have not
        heard of yet is over now."""
        closed = [
            entry
            for entry in self.registry.binds.values()
            if entry.binding.protocol == wanted.protocol
            and entry.binding.port == wanted.port
            and wire.hung_up(entry.fd)
        ]
        for entry in closed:
            self.hooks.drop_bind(entry)
        return bool(closed)

    def listen(self, session: Session, message: Message, _fds: list[int]) -> None:
        app, entry = self._app(session), self._own_bind(session, message)
        self._check_pending(session)
        if entry.udp:
            raise Refused(errno.EOPNOTSUPP)
        if not entry.in_replicas:
            self._check_memory(app)
        error = self.registry.ports.listen(entry.binding)
        if error:
            raise Refused(error)
        if not entry.in_replicas:
            try:
                entry.sock = self._take_sock(app, PROTO_TCP)
            except Refused:
                entry.binding.listening = False
                raise
            self.registry.widen(entry)
        entry.backlog = min(max(message.backlog, 0), SOMAXCONN)
        entry.defer_accept_s = message.u[0]
        self.registry.note_bind(entry)
        self.hooks.count("listens")
        self._spread(
            session,
            entry,
            lambda error: self._answer(session, message, error, bind_id=entry.number, sock=entry.sock),
        )

    def adopt(self, session: Session, message: Message, _fds: list[int]) -> None:
        """What a program after exec asks about a descriptor that it was left."""
        app, inode = self._app(session), message.u[0] | message.u[1] << 32
        entry = self.registry.bind_by_inode(app, inode) if inode else None
        if entry is None:
            raise Refused(errno.ENOENT)
        reply = message.reply(
            bind_id=entry.number,
            sock=max(entry.sock, 0),
            local=entry.local,
            backlog=entry.backlog if entry.binding.listening else -1,
            options=entry.flags,
            replica=sum(1 << replica.slot for replica in self.registry.serving(entry)),
        )
        wire.send(session.sock, reply)

    def connect(self, session: Session, message: Message, fds: list[int]) -> None:
        app = self._app(session)
        held = self.registry.held.get(message.bind_id)
        if held is not None and held.app == app.number:
            # A predecessor was killed before it could say so.
            wire.send(session.sock, message.reply(replica=held.slot))
            return
        entry = self._own_bind(session, message) if message.bind_id else None
        replica = self._connecting(message, entry)
        if replica is None or not self.registry.may_connect(replica):
            raise Refused(errno.ENETDOWN)
        if message.remote.family != 4:
            raise Refused(errno.EAFNOSUPPORT)
        if entry is not None and (entry.udp or entry.in_replicas):
            raise Refused(errno.EISCONN)
        if entry is None and (not fds or not wire.is_stack_end(fds[0])):
            raise Refused(errno.EBADF)
        self._check_memory(app)
        if not self.registry.channel(app, replica).attached:
            raise Refused(errno.ENETDOWN)
        local = entry.local if entry is not None else self.address
        if local.wildcard:
            local = Address(4, PROTO_TCP, local.port, 0, self.address.raw)
        order = Message(
            Op.CONNECT_VIA,
            app=app.number,
            bind_id=message.bind_id,
            local=local,
            remote=message.remote,
            options=message.options,
            u=message.u[:4],
        )
        if not replica.send(order, entry.fd if entry is not None else fds[0]):
            raise Refused(errno.ENETDOWN)
        self.hooks.count("connects")
        if entry is not None:
            # From now on the replica alone holds the stack's end: its death must hang up.
            self.hooks.hand_over(entry, replica)
        wire.send(session.sock, message.reply(replica=replica.slot))

    # --- parts

    def _connecting(self, message: Message, entry: Bind | None) -> Replica | None:
        """The replica that opens the connection: the application's choice, or, if the socket was bound, the
        one that its port belongs to. If that is down, what it knew of the port is gone: any other."""
        if entry is not None:
            owner = self.registry.opens_from(entry.local.port)
            if owner is not None and self.registry.may_connect(owner):
                return owner
        return self.registry.replicas.get(message.replica)

    def _app(self, session: Session) -> App:
        assert session.app is not None
        return session.app

    def _own_bind(self, session: Session, message: Message) -> Bind:
        entry = self.registry.binds.get(message.bind_id)
        if entry is None or entry.app != self._app(session).number:
            raise Refused(errno.EINVAL)
        return entry

    def _check_pending(self, session: Session) -> None:
        if session.pending >= MAX_PENDING_PER_SESSION:
            raise Refused(errno.EAGAIN)

    def _check_memory(self, app: App) -> None:
        if self.registry.look_at_memory(app):
            self.hooks.count("refused_memory")
            raise Refused(errno.ENOBUFS)

    def _take_sock(self, app: App, protocol: int) -> int:
        sock = self.registry.take_sock(app, protocol)
        if sock is None:
            raise Refused(errno.ENOBUFS)
        return sock

    def _local_host(self, local: Address) -> bytes | None:
        if local.family != 4:
            raise Refused(errno.EAFNOSUPPORT)
        if local.wildcard:
            return None
        if local.raw != self.address.raw:
            raise Refused(errno.EADDRNOTAVAIL)
        return local.raw

    def _spread(self, session: Session, entry: Bind, done: Callable[[int], None]) -> None:
        """Make the subsockets in all replicas; then `done`."""
        app = self._app(session)
        targets = self.registry.serving(entry)
        for replica in targets:
            self.registry.channel(app, replica)
        session.pending += 1

        def finish(error: int) -> None:
            session.pending -= 1
            done(error)

        self.rounds.start(targets, entry.message, entry.fd, finish)

    def _answer(self, session: Session, message: Message, error: int, **fields: object) -> None:
        """Answer later. Who is gone by then, or does not read, is cleaned up by its hang-up."""
        if session.sock.fileno() < 0:
            return
        if error:
            self.hooks.count("errors")
        with contextlib.suppress(wire.Gone):
            wire.send(session.sock, message.reply(error, **fields))


class Hooks:
    """What the calls need from the server's event loop."""

    def count(self, name: str) -> None:
        raise NotImplementedError

    def watch_bind(self, bind: Bind) -> None:
        raise NotImplementedError

    def drop_bind(self, bind: Bind) -> None:
        raise NotImplementedError

    def hand_over(self, bind: Bind, replica: Replica) -> None:
        raise NotImplementedError

    def watch_process(self, session: Session) -> None:
        raise NotImplementedError

    def forget_pid(self, app: App, pid: int) -> None:
        raise NotImplementedError
