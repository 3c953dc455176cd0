"""A stack without packets: a syscall server and replicas that speak control.h over segments as in channel.h.

Each replica is a process of its own, and joins the two ends of a connection itself: a connection to a port
where the application listens reaches that listener. Some ports behave otherwise, see Behaviour.

    python -m tests.shim.fakestack RUN_DIR REPLICAS
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import tempfile
import termios
import traceback
from collections.abc import Iterator
from pathlib import Path

from neat.abi import layout
from neat.abi.layout import neat_addr, neat_channel, neat_datagram, neat_sock
from neat.abi.messages import PROTO_UDP, REPLY, Address, Message, Op, channel_header

ADDRESS = "10.77.0.2"
NSOCK, RX, TX = 512, 1 << 16, 1 << 16
FIRST_CONNECTION = layout.NEAT_SHARED_SOCKS
TICK_S = 0.1
DIRTY, SUMMARY = layout.NEAT_DIRTY_OFFSET, layout.NEAT_SUMMARY_OFFSET
KIND_TCP, KIND_LISTENER, KIND_UDP = layout.NEAT_SOCK_TCP, layout.NEAT_SOCK_LISTENER, layout.NEAT_SOCK_UDP
OPT_PEER, OPT_LINGER = layout.NEAT_OPT_PEER, layout.NEAT_OPT_LINGER
CONNECTED, CONNECTING = layout.NEAT_ST_CONNECTED, layout.NEAT_ST_CONNECTING
RDHUP, WRCLOSED, CLOSED = layout.NEAT_ST_RDHUP, layout.NEAT_ST_WRCLOSED, layout.NEAT_ST_CLOSED
FAILED = layout.NEAT_ST_ERROR
SHUT_WR, ABORT, NOTIFY = layout.NEAT_REQ_SHUT_WR, layout.NEAT_REQ_ABORT, layout.NEAT_REQ_NOTIFY

_atomic = ctypes.CDLL("libatomic.so.1")
_WORDS = {1: ctypes.c_uint8, 4: ctypes.c_uint32, 8: ctypes.c_uint64}
_EXCHANGE = {size: getattr(_atomic, f"__atomic_exchange_{size}") for size in _WORDS}
for _size, _word in _WORDS.items():
    _EXCHANGE[_size].restype = _word
    _EXCHANGE[_size].argtypes = ctypes.c_void_p, _word, ctypes.c_int
_SEQ_CST = 5
DATAGRAM = struct.Struct(neat_datagram.format)


class Behaviour:
    """What a port of the other end does with a connection to it."""

    REFUSE = 1001
    SILENT = 1002  # the handshake is never over
    SLOW = 1003  # answers when the next connection is asked for
    RESET = 1004  # established, then reset at once
    DEADLY = 1006  # replica 0 dies of it, once; everybody else refuses
    NOISE = 1005  # established, then random messages on its descriptor
    LATE = 1007  # established at once, and its descriptor hears of it only then


class Segment:
    """One application's segment, as its replica maps it."""

    def __init__(self, fd: int) -> None:
        self.map = mmap.mmap(fd, layout.channel_bytes(NSOCK, RX, TX))
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.next = FIRST_CONNECTION

    def exchange(self, at: int, value: int, size: int) -> int:
        return _EXCHANGE[size](self.base + at, value, _SEQ_CST)

    def set_sleeping(self, value: int) -> None:
        self.exchange(neat_channel["sleeping"].offset, value, neat_channel["sleeping"].size)

    def dirty(self) -> Iterator[int]:
        for w in range(4):
            words = self.exchange(SUMMARY + 8 * w, 0, 8)
            for word in range(64):
                if words >> word & 1:
                    bits = self.exchange(DIRTY + 8 * (64 * w + word), 0, 8)
                    yield from (64 * (64 * w + word) + b for b in range(64) if bits >> b & 1)

    def pending(self) -> bool:
        return any(self.map[SUMMARY : SUMMARY + 32])


class Sock:
    """A socket object and its rings; `fd` is the stack's end, -1 while accept() has not sent it."""

    def __init__(self, segment: Segment, index: int, kind: int, fd: int) -> None:
        self.segment, self.index, self.fd = segment, index, fd
        self.at = layout.sock_offset(index)
        self.rx = layout.rx_offset(NSOCK, RX, TX, index)
        self.tx = layout.tx_offset(NSOCK, RX, TX, index)
        self.peer: Sock | None = None
        generation = self.get("generation") + 1
        segment.map[self.at : self.at + neat_sock.size] = bytes(neat_sock.size)
        self.set("kind", kind)
        self.set("snd_mss", 1448)
        self.set("rcv_wnd", RX)
        self.set("waiters", layout.NEAT_WAITERS_UNSEEN)  # tokens are all that this stack knows
        self.set("generation", generation)

    def get(self, name: str) -> int:
        """A field of the socket object."""
        return neat_sock.get(self.segment.map, name, self.at)

    def exchange(self, name: str, value: int) -> int:
        field = neat_sock[name]
        return self.segment.exchange(self.at + field.offset, value, field.size)

    set = exchange

    def say(self, data: bytes, *fds: int) -> bool:
        """On the stack's end; false when there is no room or nobody."""
        with contextlib.suppress(OSError):
            with socket.socket(fileno=os.dup(self.fd)) as sock:
                socket.send_fds(sock, [data], fds, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return True
        return False

    def token(self) -> None:
        if self.fd >= 0 and self.exchange("in_token", 1) == 0:
            self.say(b"t")

    def farewell(self) -> None:
        """The peer's FIN."""
        if self.fd >= 0:
            self.last_token()
            self.say(b"f")
            self.shutdown(socket.SHUT_WR)

    def last_token(self) -> None:
        self.set("in_token", 1)
        self.say(b"t")

    def unfill(self) -> None:
        if self.fd < 0:
            return  # what the application filled is taken out when the end is here
        fills = self.exchange("out_block", 0)
        with socket.socket(fileno=os.dup(self.fd)) as sock, contextlib.suppress(OSError):
            for _ in range(min(fills, 16)):
                sock.recv(8, socket.MSG_DONTWAIT)

    def shutdown(self, how: int) -> None:
        if self.fd < 0:
            return
        with socket.socket(fileno=os.dup(self.fd)) as sock, contextlib.suppress(OSError):
            sock.shutdown(how)

    def left(self) -> bool:
        """After a hang-up: is the application gone? Not after our own shutdown, with our farewell unread."""
        unread = fcntl.ioctl(self.fd, termios.TIOCOUTQ, bytes(4))
        return not self.get("status") & CLOSED or unread == bytes(4)

    def wants_reset(self) -> bool:
        lingers_no_time = self.get("options") & OPT_LINGER and not self.get("linger_ms")
        return bool(self.get("request") & ABORT or lingers_no_time)

    def refuses(self, source: Address) -> bool:
        """UDP: connected to somebody else."""
        at = self.at + neat_sock["peer"].offset
        peer = Address.unpack(self.segment.map[at : at + neat_addr.size])
        return bool(self.get("options") & OPT_PEER) and (peer.raw, peer.port) != (source.raw, source.port)

    def read(self, offset: int, ring: int, size: int, count: int) -> bytes:
        at = offset & (size - 1)
        first = min(count, size - at)
        return self.segment.map[ring + at : ring + at + first] + self.segment.map[ring : ring + count - first]

    def write(self, offset: int, ring: int, size: int, data: bytes) -> None:
        at = offset & (size - 1)
        first = min(len(data), size - at)
        self.segment.map[ring + at : ring + at + first] = data[:first]
        self.segment.map[ring : ring + len(data) - first] = data[first:]


class Replica:
    def __init__(self, slot: int, incarnation: int, sys_end: socket.socket, bell: int) -> None:
        self.slot, self.incarnation, self.sys, self.bell = slot, incarnation, sys_end, bell
        self.segments: dict[int, Segment] = {}
        self.socks: dict[tuple[int, int], Sock] = {}
        self.by_fd: dict[int, Sock] = {}
        self.offered: list[Sock] = []
        self.cords: dict[int, int] = {}  # the application of each
        self.listeners: dict[int, Sock] = {}
        self.udp: dict[int, Sock] = {}
        self.slow: list[tuple[Message, Sock]] = []
        self.epoll = select.epoll()
        self.epoll.register(sys_end, select.EPOLLIN)
        self.epoll.register(bell, select.EPOLLIN)
        self.ephemeral = 40000 + slot * 1000

    def run(self) -> None:
        while True:
            for segment in self.segments.values():
                segment.set_sleeping(1)
            # Who took `sleeping` away may have been killed before it rang: like a replica, look all the same.
            ready = self.epoll.poll(0 if any(s.pending() for s in self.segments.values()) else TICK_S)
            for segment in self.segments.values():
                segment.set_sleeping(0)
            # Who hung up did so before who asks now.
            for fd, events in sorted(ready, key=lambda event: event[0] == self.sys.fileno()):
                if fd == self.bell:
                    os.eventfd_read(fd)
                elif fd == self.sys.fileno():
                    self.hear()
                elif fd in self.cords:
                    self.hear_cord(fd)
                elif events & select.EPOLLHUP and fd in self.by_fd and self.by_fd[fd].left():
                    self.gone(self.by_fd[fd])
            for segment in self.segments.values():
                for index in segment.dirty():
                    known = [*self.by_fd.values(), *self.offered]
                    for sock in [s for s in known if s.segment is segment and s.index == index]:
                        self.look(sock)

    def hear(self) -> None:
        data, fds, _flags, _address = socket.recv_fds(self.sys, 4096, 4)
        if not data:
            sys.exit()
        message = Message.unpack(data)
        if message.op == Op.ATTACH:
            self.segments[message.app] = Segment(fds[0])
            os.close(fds[0])
            return
        if message.op == Op.ADD_CORD:
            self.cords[fds[0]] = message.app
            self.epoll.register(fds[0], select.EPOLLIN)
            return
        segment = self.segments[message.app]
        if message.op == Op.CONNECT_VIA:
            self.connect(message, segment, fds[0])
            return
        listens = message.op == Op.ADD_LISTENER
        kind, table = (KIND_LISTENER, self.listeners) if listens else (KIND_UDP, self.udp)
        if message.local.port in table and table[message.local.port].index == message.sock:
            os.close(fds[0])
        else:
            sock = self.open(segment, message.sock, kind, fds[0])
            sock.message = message
            table[message.local.port] = sock
            if kind == KIND_UDP:
                sock.say(self.event(Op.REPLICA, message.app, sock))
        self.sys.send(Message(message.op, REPLY, message.seq).pack())

    def hear_cord(self, cord: int) -> None:
        with socket.socket(fileno=os.dup(cord)) as sock:
            data, fds, _flags, _address = socket.recv_fds(sock, 4096, 4)
        if not data:
            self.epoll.unregister(cord)
            del self.cords[cord]
            os.close(cord)
            return
        message, segment = Message.unpack(data), self.segments[self.cords[cord]]
        for sock in [s for s in self.offered if s.segment is segment and s.index == message.sock]:
            assert message.op == Op.STACK_END and message.generation == sock.get("generation")
            assert sock.get("claim") not in (0, message.generation)
            self.offered.remove(sock)
            self.hold(sock, fds[0])
            return
        os.close(fds[0])

    def hold(self, sock: Sock, fd: int) -> None:
        """Its stack's end has come: show what came before."""
        status = sock.get("status")
        if status & FAILED:
            os.close(fd)
            return
        sock.fd = fd
        self.by_fd[fd] = sock
        self.epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)
        if sock.get("rx_tail") != sock.get("rx_head"):
            sock.token()
        self.make_room(sock)
        if status & RDHUP:
            sock.farewell()
        if status & CLOSED:
            sock.shutdown(socket.SHUT_RDWR)

    def open(self, segment: Segment, index: int, kind: int, fd: int) -> Sock:
        sock = Sock(segment, index, kind, fd)
        self.by_fd[fd] = sock
        self.epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)
        return sock

    def event(self, op: Op, app: int, sock: Sock, **fields) -> bytes:
        return Message(
            op,
            app=app,
            replica=self.slot,
            incarnation=self.incarnation,
            sock=sock.index,
            generation=sock.get("generation"),
            **fields,
        ).pack()

    def connect(self, message: Message, segment: Segment, fd: int) -> None:
        port = message.remote.port
        listener = self.listeners.get(port)
        if port == Behaviour.DEADLY and self.slot == 0 and self.incarnation == 1:
            os._exit(1)
        segment.next += 1
        sock = self.open(segment, segment.next, KIND_TCP, fd)
        sock.set("out_block", message.u[0])
        sock.set("status", CONNECTED if port == Behaviour.LATE else CONNECTING)
        self.ephemeral += 1
        local = Address.ipv4(ADDRESS, message.local.port or self.ephemeral, 6)
        sock.say(self.event(Op.CONNECTING, message.app, sock, local=local))
        for late, other in self.slow:
            self.establish(late, other, None, Address())
        self.slow.clear()
        if port == Behaviour.SLOW:
            self.slow.append((message, sock))
        elif port == Behaviour.RESET:
            self.establish(message, sock, None, local)
            self.reset(sock, errno.ECONNRESET)
        elif port == Behaviour.LATE:
            select.select([], [], [], 0.05)
            self.establish(message, sock, None, local)
        elif port == Behaviour.NOISE:
            self.establish(message, sock, None, local)
            for _ in range(20):
                sock.say(random.randbytes(random.choice([1, 1, 7, 159, 160, 161, 400])), self.bell)
        elif listener is not None:
            self.establish(message, sock, listener, local)
        elif port != Behaviour.SILENT:
            sock.say(Message(Op.FAILED, error=errno.ECONNREFUSED).pack())
            self.reset(sock, errno.ECONNREFUSED)

    def establish(self, message: Message, sock: Sock, listener: Sock | None, local: Address) -> None:
        if listener is not None:
            segment = listener.segment
            segment.next += 1
            peer = Sock(segment, segment.next, KIND_TCP, -1)
            peer.set("tcp_state", layout.NEAT_TCP_ESTABLISHED)
            peer.set("status", CONNECTED)
            peer.peer, sock.peer = sock, peer
            peer.set("claim", peer.get("generation"))
            self.offered.append(peer)
            listener.say(self.event(Op.ACCEPT, message.app, peer, local=message.remote, remote=local))
        sock.set("tcp_state", layout.NEAT_TCP_ESTABLISHED)
        sock.set("status", CONNECTED)
        sock.unfill()

    def look(self, sock: Sock) -> None:
        """Carry out what the application wrote into its lines."""
        if sock.get("request") & NOTIFY:
            sock.set("request", sock.get("request") & ~NOTIFY)
            if sock.get("rx_tail") != sock.get("rx_head"):
                sock.token()
            self.make_room(sock)
        if sock.get("kind") == KIND_UDP:
            self.look_udp(sock)
        elif sock.peer is not None:
            self.pump(sock)
            self.pump(sock.peer)

    def pump(self, sock: Sock) -> None:
        peer = sock.peer
        assert peer is not None
        while True:
            head, tail = sock.get("tx_head"), sock.get("tx_tail")
            to, free = peer.get("rx_tail"), RX - (peer.get("rx_tail") - peer.get("rx_head"))
            count = min(tail - head, free)
            peer.set("rcv_wnd", free - count)
            if not 0 < count <= TX:
                break
            peer.write(to, peer.rx, RX, sock.read(head, sock.tx, TX, count))
            peer.set("rx_tail", to + count)
            peer.token()
            sock.set("tx_head", head + count)
            self.make_room(sock)
        if sock.get("request") & SHUT_WR and tail == head and not sock.get("status") & WRCLOSED:
            self.finish(sock)

    def make_room(self, sock: Sock) -> None:
        limit = sock.get("sndbuf") or TX
        if sock.get("tx_tail") - sock.get("tx_head") <= limit - limit // 3:
            sock.unfill()

    def finish(self, sock: Sock) -> None:
        """Our side's FIN, and its arrival at the peer."""
        peer = sock.peer
        assert peer is not None
        sock.set("status", sock.get("status") | WRCLOSED)
        peer.set("status", peer.get("status") | RDHUP)
        peer.farewell()
        for end in (sock, peer):
            if end.get("status") & RDHUP and end.get("status") & WRCLOSED:
                end.set("status", end.get("status") | CLOSED)
                end.shutdown(socket.SHUT_RDWR)

    def reset(self, sock: Sock, error: int) -> None:
        sock.set("error", error)
        sock.set("error_count", 1)
        sock.set("status", sock.get("status") | FAILED | CLOSED)
        if sock.fd in self.by_fd:
            self.epoll.unregister(sock.fd)
            del self.by_fd[sock.fd]
            os.close(sock.fd)
        sock.peer = None

    def gone(self, sock: Sock) -> None:
        """The application's last descriptor is closed."""
        table = {KIND_LISTENER: self.listeners, KIND_UDP: self.udp}.get(sock.get("kind"), {})
        for port in [p for p, s in table.items() if s is sock]:
            del table[port]
        peer = sock.peer
        if peer is not None:
            self.pump(sock)
            if sock.get("rx_tail") != sock.get("rx_head") or sock.wants_reset():
                self.reset(peer, errno.ECONNRESET)
            elif not sock.get("status") & WRCLOSED:
                self.finish(sock)
            peer.peer = None
        self.epoll.unregister(sock.fd)
        del self.by_fd[sock.fd]
        os.close(sock.fd)
        if sock.get("kind") == KIND_TCP:
            sock.set("generation", sock.get("generation") + 1)

    def look_udp(self, sock: Sock) -> None:
        """Datagrams go to whoever is bound to their port, in this replica."""
        while sock.get("tx_head") < sock.get("tx_tail"):
            head = sock.get("tx_head")
            header = sock.read(head, sock.tx, TX, neat_datagram.size)
            length, _flags, *to = DATAGRAM.unpack(header)
            data = sock.read(head + neat_datagram.size, sock.tx, TX, length)
            sock.set("tx_head", head + neat_datagram.size + (length + 7 & ~7))
            target = self.udp.get(Address(*to).port)
            source = Address.ipv4(ADDRESS, sock.message.local.port, PROTO_UDP)
            if target is None or target.refuses(source):
                continue
            header = DATAGRAM.pack(length, 0, *dataclasses.astuple(source))
            record = header + data + bytes(-length % 8)
            if RX - (target.get("rx_tail") - target.get("rx_head")) >= len(record):
                target.write(target.get("rx_tail"), target.rx, RX, record)
                target.set("rx_tail", target.get("rx_tail") + len(record))
                target.token()
        self.make_room(sock)


class Slot:
    """What the server knows of one replica."""

    def __init__(self, slot: int) -> None:
        self.slot, self.incarnation, self.pid = slot, 0, 0
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.sys: socket.socket | None = None
        self.segments: dict[int, int] = {}

    def start(self) -> None:
        if self.sys:
            self.sys.close()
        for fd in self.segments.values():
            os.close(fd)
        self.segments.clear()
        self.incarnation += 1
        self.sys, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                keep = {0, 1, 2, theirs.fileno(), self.bell}
                for name in os.listdir("/proc/self/fd"):
                    if int(name) not in keep:
                        with contextlib.suppress(OSError):
                            os.close(int(name))
                Replica(self.slot, self.incarnation, theirs, self.bell).run()
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(1)
        theirs.close()

    def segment(self, app: int) -> int:
        if app not in self.segments:
            fd = os.memfd_create(f"app{app}.{self.slot}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, layout.channel_bytes(NSOCK, RX, TX))
            os.pwrite(fd, channel_header(app, self.slot, self.incarnation, NSOCK, RX, TX), 0)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self.segments[app] = fd
            self.send(Message(Op.ATTACH, app=app, u=(NSOCK, RX, TX)), fd)
        return self.segments[app]

    def send(self, message: Message, *fds: int) -> None:
        assert self.sys is not None
        with contextlib.suppress(OSError):
            socket.send_fds(self.sys, [message.pack()], fds)

    def ask(self, message: Message, *fds: int) -> None:
        self.send(message, *fds)
        with contextlib.suppress(OSError):
            self.sys.recv(4096)


class Server:
    def __init__(self, run_dir: str, replicas: int) -> None:
        self.slots = [Slot(k) for k in range(replicas)]
        for slot in self.slots:
            slot.start()
        self.listen = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listen.bind(f"{run_dir}/syscall.sock")
        self.listen.listen(16)
        self.clients: dict[int, socket.socket] = {}
        self.tokens: dict[int, int] = {}
        self.binds: dict[int, tuple[Message, int]] = {}
        self.children, child = socket.socketpair()
        child.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(child.fileno(), warn_on_full_buffer=False)
        self.child = child
        Path(run_dir, "pids").write_text(" ".join(str(s.pid) for s in self.slots))
        self.run_dir = run_dir

    def run(self) -> None:
        poll = select.poll()
        for sock in (self.listen, self.children):
            poll.register(sock, select.POLLIN)
        print("ready", flush=True)
        while True:
            for fd, _ in poll.poll():
                if fd == self.listen.fileno():
                    new = self.listen.accept()[0]
                    self.clients[new.fileno()] = new
                    poll.register(new, select.POLLIN)
                elif fd == self.children.fileno():
                    self.children.recv(64)
                    self.replace()
                elif not self.serve(self.clients[fd]):
                    poll.unregister(fd)
                    self.clients.pop(fd).close()

    def replace(self) -> None:
        """A replica died: a new one, with the bound sockets."""
        pid = 1
        while pid > 0:
            with contextlib.suppress(ChildProcessError):
                pid = os.waitpid(-1, os.WNOHANG)[0]
                for slot in self.slots:
                    if pid == slot.pid:
                        slot.start()
                        for message, fd in self.binds.values():
                            if message.op in (Op.ADD_LISTENER, Op.ADD_UDP):
                                slot.segment(message.app)
                                slot.ask(message, fd)
                continue
            break
        Path(self.run_dir, "pids").write_text(" ".join(str(s.pid) for s in self.slots))

    def serve(self, client: socket.socket) -> bool:
        try:
            data, fds, _flags, _address = socket.recv_fds(client, 4096, 4)
        except ConnectionResetError:
            return False
        if not data:
            return False
        message = Message.unpack(data)
        try:
            reply, back = self.answer(message, fds)
        except OSError as error:
            reply, back = message.reply(error.errno), ()
        socket.send_fds(client, [reply.pack()], back)
        if message.op == Op.CORD:
            for fd in back:
                os.close(fd)
        return True

    def answer(self, message: Message, fds: list[int]) -> tuple[Message, tuple[int, ...]]:
        bitmap = (1 << len(self.slots)) - 1
        host = "0.0.0.0" if message.local.wildcard else ADDRESS
        local = Address.ipv4(host, message.local.port, message.local.protocol)
        if message.op in (Op.HELLO, Op.JOIN):
            app, token = message.app, message.token
            if message.op == Op.HELLO:
                app, token = len(self.tokens) + 1, random.getrandbits(64)
                self.tokens[app] = token
            elif self.tokens.get(app) != token:
                raise OSError(errno.ESRCH, "")
            return message.reply(app=app, token=token, replica=bitmap, local=local, u=(NSOCK, RX, TX)), ()
        if message.op == Op.PREFER:
            return message.reply(replica=bitmap), ()
        if message.op == Op.SEGMENT:
            slot = self.slots[message.replica]
            if message.incarnation not in (0, slot.incarnation):
                raise OSError(errno.ESTALE, "")
            fd = slot.segment(message.app)
            return message.reply(app=message.app, incarnation=slot.incarnation, u=(NSOCK, RX, TX)), (
                fd,
                slot.bell,
            )
        if message.op == Op.CORD:
            slot = self.slots[message.replica]
            if message.incarnation != slot.incarnation:
                raise OSError(errno.ESTALE, "")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            word = (random.getrandbits(32) | 1,)
            slot.send(Message(Op.ADD_CORD, app=message.app, u=word), theirs.fileno())
            theirs.close()
            return message.reply(u=word), (ours.detach(),)
        if message.op == Op.BIND:
            number = len(self.binds) + 1
            if not message.local.wildcard and message.local.host != ADDRESS:
                raise OSError(errno.EADDRNOTAVAIL, "")
            local.port = local.port or 30000 + number
            if any(
                m.local.port == local.port and m.local.protocol == local.protocol
                for m, _ in self.binds.values()
            ):
                raise OSError(errno.EADDRINUSE, "")
            udp = local.protocol == PROTO_UDP
            order = Message(
                Op.ADD_UDP if udp else 0, app=message.app, sock=number, bind_id=number, local=local
            )
            self.binds[number] = (order, fds[0])
            if udp:
                for slot in self.slots:
                    slot.segment(message.app)
                    slot.ask(order, fds[0])
            return message.reply(bind_id=number, local=local, sock=number, replica=bitmap), ()
        if message.op == Op.LISTEN:
            order, fd = self.binds[message.bind_id]
            order.op, order.backlog = Op.ADD_LISTENER, message.backlog
            for slot in self.slots:
                slot.segment(message.app)
                slot.ask(order, fd)
            return message.reply(sock=message.bind_id), ()
        slot = self.slots[message.replica]
        slot.segment(message.app)
        fd = self.binds.pop(message.bind_id)[1] if message.bind_id else fds[0]
        order = Message(
            Op.CONNECT_VIA, app=message.app, local=message.local, remote=message.remote, u=message.u
        )
        slot.send(order, fd)
        os.close(fd)
        return message.reply(), ()


class FakeStack:
    """A running one, as tests see it."""

    def __init__(self, run_dir: str, pid: int) -> None:
        self.run_dir, self.pid = run_dir, pid

    def pids(self) -> list[int]:
        return [int(p) for p in Path(self.run_dir, "pids").read_text().split()]


@contextlib.contextmanager
def running(replicas: int = 2) -> Iterator[FakeStack]:
    """Starts one and points NEAT_RUN_DIR at it."""
    import subprocess

    with tempfile.TemporaryDirectory(prefix="neat-fake-") as run_dir:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.shim.fakestack", run_dir, str(replicas)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        before = os.environ.get("NEAT_RUN_DIR")
        os.environ["NEAT_RUN_DIR"] = run_dir
        try:
            assert process.stdout.readline() == b"ready\n"
            yield FakeStack(run_dir, process.pid)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            os.environ.pop("NEAT_RUN_DIR")
            if before is not None:
                os.environ["NEAT_RUN_DIR"] = before


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2])).run()
