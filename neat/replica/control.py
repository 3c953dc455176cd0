"""What a replica hears between turns: the syscall server's messages on `sys`, the supervisor's on `ctl`.
The slow path.

On its start it says NEAT_OP_REPLICA_HELLO and repeats it until a NEAT_OP_WELCOME answers: the syscall
server may just be restarting. All that comes before is for this incarnation or ignored; hearing something
twice changes nothing.
"""

import array
import json
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from neat.abi.messages import MESSAGE_BYTES, REPLY, BadMessage, Message, Op
from neat.boot import Boot
from neat.replica import ss
from neat.replica.core import Core, ended_waits
from neat.shm import rights
from neat.shm.board import BoardWriter

HELLO_AGAIN_S = 0.1
BATCH = 64  # messages in one go; the rest after the next turn
MAX_CTL = 4096
ROWS_A_DATAGRAM = 200
MAX_FDS = 4
BITMAP_BYTES = 1 << 13  # a bit a port
SWEEP_S = 2.0  # between looks at the ends that applications have left
ENDS_A_TICK = 32
WAITS_A_TICK = 64


@dataclass
class Estate:
    """TIME-WAITs of a replica that has ended, and how far we have gone on with them."""

    said: dict[str, Any]  # to the supervisor, when it is done
    waits: bytes
    first: int = 0
    done: bool = False


class Control:
    def __init__(self, boot: Boot, core: Core, board: BoardWriter) -> None:
        self.core = core
        self.board = board
        self.replica = boot.slot
        self.incarnation = boot.state or boot.incarnation  # of the state: what others know us by
        self.sys = socket.socket(fileno=boot.fds["sys"])
        self.ctl = socket.socket(fileno=boot.fds["ctl"])
        self.sys.setblocking(False)
        self.ctl.setblocking(False)
        self.stopping = False
        self.over = True  # with the process ends its state
        self.ready = False
        self.seq = 0
        self.hello_at = 0.0
        self.again = core.recovered  # the first message may have been carried out by our predecessor
        self.rows: ss.Listing | None = None  # an answer that has not been sent to its end
        self.ends: list[int] = []  # descriptors whose queues are to be looked at
        self.sweep_at = 0.0
        self.estates: list[Estate] = []
        if core.recovered:
            self._get_ready()
        self.hello = True
        self.tick()

    def stop(self, *_signal: object) -> None:
        self.stopping = True

    @property
    def busy(self) -> bool:
        """Whether `tick` has something to do soon."""
        return self.rows is not None or bool(self.ends) or bool(self.estates)

    def tick(self) -> None:
        """Whatever is due: the hello again, the rest of a long answer."""
        if self.hello and time.monotonic() >= self.hello_at + HELLO_AGAIN_S:
            self.hello_at = time.monotonic()
            self.seq += 1
            self._send(
                Message(Op.REPLICA_HELLO, seq=self.seq, replica=self.replica, incarnation=self.incarnation)
            )
        for bind_id in self.core.unbound():
            if not self._send(
                Message(Op.PORT_FREE, replica=self.replica, incarnation=self.incarnation, bind_id=bind_id)
            ):
                break
            self.core.told()
        self._send_rows()
        self._sweep()
        self._adopt()

    def _sweep(self) -> None:
        """What nobody will ever take out of the queues of applications' sockets (neat/shm/rights.py), a few
        at a time. A number that means another end by now does no harm."""
        now = time.monotonic()
        if now >= self.sweep_at:
            self.sweep_at = now + SWEEP_S
            for app in self.core.orphans():
                self._look_over(app)
        for fd in self.ends[:ENDS_A_TICK]:
            rights.discard(fd)
        del self.ends[:ENDS_A_TICK]

    def _adopt(self) -> None:
        """A few TIME-WAITs: packets do not wait for a long table."""
        for estate in self.estates[:1]:
            if not estate.done:
                estate.first = self.core.adopt(estate.waits, estate.first, WAITS_A_TICK)
                estate.done = estate.first == 0
            if estate.done and self.core.flows_said and self._tell(estate.said):
                self.estates.pop(0)

    def _look_over(self, app: int) -> None:
        known = set(self.ends)
        self.ends += [fd for fd in self.core.stack_ends(app) if fd not in known]

    def _send(self, message: Message, *fds: int) -> bool:
        try:
            socket.send_fds(self.sys, [message.pack()], fds)
        except BlockingIOError:
            # the syscall server does not read: it will ask again, or its successor will
            self.core.drop_control()
            return False
        return True

    def read_sys(self) -> None:
        """Each message is taken out when it was carried out: who is killed before that leaves it to its
        successor, for whom hearing of something twice changes nothing."""
        keep = socket.MSG_PEEK if self.core.stateful else 0
        for _ in range(BATCH):
            try:
                data, ancillary, _flags, _address = self.sys.recvmsg(
                    MESSAGE_BYTES + 1, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC | keep
                )
            except BlockingIOError:
                return
            fds = array.array("i")
            for _level, _kind, payload in ancillary:
                fds.frombytes(payload[: len(payload) & ~3])
            left = list(fds)
            try:
                self._hear(Message.unpack(data), left)
            except BadMessage:
                self.core.drop_control()
            finally:
                for fd in left:
                    os.close(fd)
                if keep:
                    self.sys.recv(1)
                self.again = False

    def _hear(self, message: Message, fds: list[int]) -> None:
        """Carry one message out. Descriptors that are taken over are taken out of `fds`."""
        if message.incarnation not in (0, self.incarnation):
            return  # to the one before us
        if message.op == Op.WELCOME:
            if message.incarnation == self.incarnation:
                self.hello = False
                self._get_ready()
        elif message.op == Op.APP_GONE:
            self.core.app_gone(message.app)
        elif message.op == Op.SWEEP:
            self._look_over(message.app)
        elif message.op == Op.FULL:
            self.core.app_full(message.app, bool(message.u[0]))
        elif message.op == Op.PORTS:
            self._share_ports(message, fds)
        elif not fds:
            raise BadMessage("no descriptor")
        elif message.op == Op.ATTACH:
            if len(fds) < 2:
                raise BadMessage("no doorbell")
            if self.core.attach(message.app, fds[0], fds[1], *message.u[:4]) == 0:
                del fds[:2]
        elif message.op == Op.ADD_POLLER:
            os.set_blocking(fds[0], False)
            if self.core.add_poller(message.app, message.u[0], fds[0]):
                fds.pop(0)
        elif message.op == Op.ADD_CORD:
            if self.core.add_cord(message.app, message.u[0], fds[0]):
                fds.pop(0)
        elif message.op == Op.CONNECT_VIA:
            if not (self.again and self.core.knows(os.fstat(fds[0]).st_ino)):
                self._connect(message, fds)
        elif message.op in (Op.ADD_LISTENER, Op.ADD_UDP):
            self._add(message, fds)
        else:
            raise BadMessage(f"op {message.op}")

    def _share_ports(self, message: Message, fds: list[int]) -> None:
        rank, count = message.u[:2]
        try:
            if fds:
                self.core.share_ports(rank, count, os.pread(fds[0], BITMAP_BYTES, 0))
                return
            used = self.core.narrow_ports(rank, count)
        except ValueError as error:
            raise BadMessage(str(error)) from None
        fd = os.memfd_create("neat:ports", os.MFD_CLOEXEC)
        try:
            os.pwrite(fd, used, 0)
            answer = Message(Op.PORTS, REPLY, message.seq, replica=self.replica, incarnation=self.incarnation)
            self._send(answer, fd)
        finally:
            os.close(fd)

    def _connect(self, message: Message, fds: list[int]) -> None:
        local, remote = message.local.pack(), message.remote.pack()
        if self.core.connect(
            message.app, message.bind_id, local, remote, message.options, message.u[:4], fds[0]
        ):
            fds.pop(0)
        else:
            self.core.unbind(message.bind_id)

    def _add(self, message: Message, fds: list[int]) -> None:
        app, sock, bind_id, address = message.app, message.sock, message.bind_id, message.local.pack()
        if message.op == Op.ADD_LISTENER:
            backlog = max(message.backlog, 0)
            error, taken = self.core.add_listener(
                app, sock, bind_id, backlog, message.options, message.u[0], address, fds[0]
            )
        else:
            # Without a seq nobody asked for it just now: it is part of what a new replica is told.
            briefing = message.seq == 0
            error, taken = self.core.add_udp(app, sock, bind_id, message.options, address, fds[0], briefing)
        if taken:
            fds.pop(0)
        self._send(Message(message.op, REPLY, message.seq, error, message.app, self.replica, bind_id=bind_id))

    def _get_ready(self) -> None:
        if self.ready:
            return
        self.ready = True
        self.core.hear()
        self.board.running()
        ready: dict[str, Any] = {"event": "ready"}
        if self.core.recovered:
            ready["connections"] = self.core.connections
        self._tell(ready)

    def _tell(self, message: dict[str, Any]) -> bool:
        try:
            self.ctl.send(json.dumps(message, separators=(",", ":")).encode())
        except BlockingIOError:
            return False
        return True

    def read_ctl(self) -> None:
        for _ in range(BATCH):
            try:
                data, fds, _flags, _address = socket.recv_fds(self.ctl, MAX_CTL, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            if not data:
                return
            try:
                message = json.loads(data)
                if isinstance(message, dict):
                    self._hear_ctl(message, fds)
            except (ValueError, RecursionError):
                continue
            finally:
                for fd in fds:
                    os.close(fd)

    def _hear_ctl(self, message: dict[str, Any], fds: list[int]) -> None:
        if message.get("op") == "stop":
            self.over = not message.get("stay")
            self.stop()
        elif message.get("op") == "ss":
            self.rows = ss.Listing(self.core, self.core.pids(), message.get("seq", 0))
        elif message.get("op") == "adopt" and fds:
            said = {"event": "adopted", "name": message.get("name"), "state": message.get("state")}
            self.estates.append(Estate(said, ended_waits(fds[0])))

    def _send_rows(self) -> None:
        """One datagram of the answer, if the socket takes it: packets do not wait for a long list."""
        if (
            self.rows is not None
            and self._tell(self.rows.datagram(ROWS_A_DATAGRAM))
            and not self.rows.advance()
        ):
            self.rows = None
