"""The syscall server's event loop: who speaks on which descriptor, and what happens when one is hung up.

Registrations of applications come over the listening socket; `sys<k>` leads to replica k; `ctl` to the
supervisor. The stack's end of every bound socket is watched for the moment when the application has closed
its last copy.
"""

import collections
import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial

from neat.abi.messages import REPLY, BadMessage, Message, Op
from neat.boot import Boot
from neat.shm.board import BoardWriter
from neat.shm.steering import SLOTS
from neat.syscalls import wire
from neat.syscalls.apps import App, Session
from neat.syscalls.binds import Bind
from neat.syscalls.calls import Calls, Hooks
from neat.syscalls.record import Store
from neat.syscalls.registry import Registry
from neat.syscalls.replicas import Replica, Rounds

MAX_SESSIONS = 8192
MAX_SESSIONS_PER_PID = 32
MAX_STRANGERS = 256  # connections of other users that have not joined an application
BATCH = 32  # messages of one peer in one go
EVENTS_A_TURN = 64  # so that nobody waits long for a turn, however many have hung up
LOOK_S = 1.0  # between two looks at what applications have
GRACE_S = 2.0  # between an application's last sign of life and its end: it may be in the middle of exec
ACCEPT_AGAIN_S = 0.2
MAX_CTL = 4096
ROWS_A_DATAGRAM = 50
PEER = struct.Struct("iII")  # struct ucred
HUNG_UP = select.EPOLLHUP | select.EPOLLERR


class Server(Hooks):
    def __init__(self, boot: Boot, store: Store, board: BoardWriter) -> None:
        self.board = board
        self.incarnation = boot.incarnation
        self.heartbeat_s = boot.config.heartbeat_ms * 0.8e-3
        self.stopping = False
        self.poll = select.epoll()
        self.ready: dict[int, Callable[[int], None]] = {}  # by descriptor
        self.sessions: set[Session] = set()
        self.by_pid: collections.Counter[int] = collections.Counter()
        self.accept_at: float | None = None  # when to accept again, after running out of descriptors
        self.ctl = self._adopt(boot.fds["ctl"])
        self.listener = self._adopt(boot.fds["listen"])
        replicas = {}
        for k in range(SLOTS):
            if f"sys{k}" in boot.fds:
                replicas[k] = Replica(k, self._adopt(boot.fds[f"sys{k}"]))
                wire.widen(replicas[k].sock)
        self.look_at = 0.0
        self.registry = Registry(boot.config, store, replicas, board.heartbeat)
        self.rounds = Rounds()
        self.calls = Calls(boot.config, self.registry, self.rounds, self)
        self.registry.load()
        self._watch_all(boot.fds["lifeline"])

    def _adopt(self, fd: int) -> socket.socket:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        return sock

    def _watch_all(self, lifeline: int) -> None:
        self.watch(self.ctl.fileno(), select.EPOLLIN, self.on_ctl)
        self.watch(self.listener.fileno(), select.EPOLLIN, self.on_listener)
        self.watch(lifeline, select.EPOLLIN, self.stop_over)
        for replica in self.registry.replicas.values():
            self.watch(replica.sock.fileno(), select.EPOLLIN, partial(self.on_replica, replica))
        for bind in list(self.registry.binds.values()):
            self.watch_bind(bind)
        for app in self.registry.apps.values():
            for pid in list(app.watched):
                self.watch(app.watched[pid], select.EPOLLIN, partial(self.on_exit, app, pid))
        # Tell those that run on what the predecessor may have left half told.
        self.registry.shares.begin()
        for replica in self.registry.known():
            self.registry.brief(replica)

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        self.poll.register(fd, events)
        self.ready[fd] = call

    def forget(self, fd: int) -> None:
        if self.ready.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def stop(self, *_why: object) -> None:
        self.stopping = True

    def stop_over(self, *_why: object) -> None:
        """The stack ends, not only this process."""
        self.registry.end_all_channels()
        self.stop()

    # --- the loop

    def run(self) -> None:
        """Until told to stop, or the guardian is gone."""
        self.board.running()
        self.ctl.send(json.dumps({"event": "ready"}).encode())
        while not self.stopping:
            events = self.poll.poll(self.heartbeat_s, EVENTS_A_TURN)
            began = time.monotonic_ns()
            for fd, mask in events:
                call = self.ready.get(fd)
                if call is not None:
                    call(mask)
                    self.board.heartbeat()
            self._due()
            self.board.heartbeat()
            self.board.busy(time.monotonic_ns() - began)
        self.board.stopping()

    def _due(self) -> None:
        now = time.monotonic()
        self.rounds.expire()
        for app in list(self.registry.apps.values()):
            if not app.deserted:
                app.gone_at = None
            elif app.gone_at is None:
                app.gone_at = now
            elif now - app.gone_at >= GRACE_S:
                self.registry.remove_app(app)
                self.count("apps_gone")
                self.board.heartbeat()
        if now >= self.look_at:
            self.look_at = now + LOOK_S
            self._look()
        if self.accept_at is not None and now >= self.accept_at:
            self.accept_at = None
            self.watch(self.listener.fileno(), select.EPOLLIN, self.on_listener)

    def _look(self) -> None:
        self.registry.shares.look()
        for app in self.registry.apps.values():
            if app.forsaken and not app.deserted:
                self.registry.sweep(app)
            self.registry.look_at_memory(app)
            self.board.heartbeat()

    # --- Hooks

    def count(self, name: str) -> None:
        self.board.count(name)

    def watch_bind(self, bind: Bind) -> None:
        # No event but a hang-up is asked for: what is in the queue is not ours.
        self.watch(bind.fd, 0, partial(self.on_bind, bind))

    def drop_bind(self, bind: Bind) -> None:
        self.forget(bind.fd)
        self.registry.remove_bind(bind)

    def hand_over(self, bind: Bind, replica: Replica) -> None:
        self.forget(bind.fd)
        self.registry.hand_over(bind, replica)

    def watch_process(self, session: Session) -> None:
        with contextlib.suppress(OSError):
            session.pidfd = os.pidfd_open(session.pid)
            self.watch(session.pidfd, select.EPOLLIN, partial(self.on_process, session))

    def forget_pid(self, app: App, pid: int) -> None:
        pidfd = app.watched.pop(pid, None)
        if pidfd is not None:
            self.forget(pidfd)
            os.close(pidfd)
            self.registry.forget_process(app, pid)

    # --- what comes in

    # An event may be an older one of another descriptor that had the number: each looks for itself.

    def on_exit(self, app: App, pid: int, _events: int) -> None:
        if wire.readable(app.watched[pid]):
            self.forget_pid(app, pid)

    def on_process(self, session: Session, _events: int) -> None:
        if wire.readable(session.pidfd):
            session.orphan = True
            self._unwatch_process(session)

    def _unwatch_process(self, session: Session) -> None:
        if session.pidfd >= 0:
            self.forget(session.pidfd)
            os.close(session.pidfd)
            session.pidfd = -1

    def on_bind(self, bind: Bind, events: int) -> None:
        if events & HUNG_UP and wire.hung_up(bind.fd):
            self.drop_bind(bind)

    def on_listener(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                sock, _address = self.listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors: let those that wait wait, instead of spinning.
                self.forget(self.listener.fileno())
                self.accept_at = time.monotonic() + ACCEPT_AGAIN_S
                return
            pid, uid, gid = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
            full = len(self.sessions) >= MAX_SESSIONS or self.by_pid[pid] >= MAX_SESSIONS_PER_PID
            trusted = uid in (0, os.geteuid()) or gid == os.getegid()
            if full or not (trusted or self._strangers() < MAX_STRANGERS):
                sock.close()
                continue
            sock.setblocking(False)
            self.by_pid[pid] += 1
            session = Session(sock, pid, uid, trusted)
            self.sessions.add(session)
            self.watch(sock.fileno(), select.EPOLLIN, partial(self.on_session, session))

    def _strangers(self) -> int:
        return sum(not session.trusted and session.app is None for session in self.sessions)

    def on_session(self, session: Session, _events: int) -> None:
        try:
            for _ in range(BATCH):
                try:
                    received = wire.receive(session.sock)
                except BadMessage:
                    self.count("drop_bad_message")
                    continue
                if received is None:
                    return
                message, fds = received
                try:
                    self.calls.serve(session, message, fds)
                finally:
                    wire.close_all(fds)
                self.board.heartbeat()
        except wire.Gone:
            self._end(session)

    def _end(self, session: Session) -> None:
        self.forget(session.sock.fileno())
        session.sock.close()
        self._unwatch_process(session)
        self.sessions.discard(session)
        self.by_pid[session.pid] -= 1
        if not self.by_pid[session.pid]:
            del self.by_pid[session.pid]
        self.registry.leave(session)

    def on_replica(self, replica: Replica, _events: int) -> None:
        for _ in range(BATCH):
            try:
                received = wire.receive(replica.sock)
            except BadMessage:
                self.count("drop_bad_message")
                continue
            except wire.Gone:
                self.forget(replica.sock.fileno())
                return
            if received is None:
                return
            message, fds = received
            try:
                self._on_word(replica, message, fds)
            finally:
                wire.close_all(fds)

    def _on_word(self, replica: Replica, message: Message, fds: list[int]) -> None:
        if message.op == Op.REPLICA_HELLO:
            self._welcome(replica, message)
        elif message.flags & REPLY and message.op in (Op.ADD_LISTENER, Op.ADD_UDP):
            self.rounds.answer(replica.slot, message)
        elif message.flags & REPLY and message.op == Op.PORTS:
            self.registry.shares.answer(replica, message, fds)
        elif message.op == Op.PORT_FREE:
            if message.incarnation == replica.incarnation:
                self.registry.port_free(message.bind_id, replica.slot)
        else:
            self.count("drop_bad_message")

    def _welcome(self, replica: Replica, message: Message) -> None:
        """A replica has started: all sockets, then the word that this was all."""
        if message.incarnation < replica.incarnation:
            return  # said by a predecessor
        self.count("replica_hellos")
        if message.incarnation != replica.incarnation:
            self.rounds.lost(replica.slot)
            self.registry.lose(replica, message.incarnation - 1)
            replica.incarnation = message.incarnation
            replica.active = replica.down = False
            self.registry.note_replica(replica)
        if self.registry.brief(replica):
            replica.send(Message(Op.WELCOME, seq=message.seq))

    def on_ctl(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                data = self.ctl.recv(MAX_CTL)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.forget(self.ctl.fileno())
                return
            with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
                self._obey(json.loads(data))

    def _obey(self, message: dict) -> None:
        op = message.get("op")
        if op == "stop" and message.get("over"):
            self.stop_over()
        elif op == "stop":
            self.stop()
        elif op == "programs":
            self._list_programs(int(message["seq"]))
        elif op in ("replica_up", "replica_down"):
            replica = self.registry.replicas[int(message["replica"])]
            if op == "replica_up":
                self._replica_up(replica, int(message.get("incarnation", replica.incarnation)))
            else:
                self._replica_down(replica, int(message.get("incarnation", replica.incarnation)))
            self.registry.note_replica(replica)
        elif op == "slots":
            self.registry.shares.change(int(slot) for slot in message["slots"])

    def _replica_up(self, replica: Replica, incarnation: int) -> None:
        if incarnation < replica.incarnation:
            return
        if incarnation > replica.incarnation:
            # Its hello was to a predecessor of ours that could not write it down.
            self.registry.lose(replica, incarnation - 1)
            replica.incarnation = incarnation
            self.registry.brief(replica)
        replica.active, replica.down = True, False

    def _replica_down(self, replica: Replica, incarnation: int) -> None:
        if incarnation < replica.incarnation:
            return  # its successor said hello first, so all of this was done
        replica.active, replica.down = False, True
        self.rounds.lost(replica.slot)
        self.registry.lose(replica, incarnation)

    def _list_programs(self, seq: int) -> None:
        """What `neat status` shows of applications and of what they were refused, in several datagrams. Who
        asks does not wait for what is missing."""
        rows = [{"application": row} for row in self.registry.applications()]
        rows += [{"refused": row} for row in self.calls.refusals.rows()]
        pieces = [rows[i : i + ROWS_A_DATAGRAM] for i in range(0, len(rows), ROWS_A_DATAGRAM)] or [[]]
        with contextlib.suppress(OSError):
            for i, piece in enumerate(pieces):
                answer = {"seq": seq, "rows": piece, "more": i + 1 < len(pieces)}
                self.ctl.send(json.dumps(answer, separators=(",", ":")).encode())
