"""A real syscall server process among fakes: a guardian's store in a thread, replicas and a supervisor
played by the test."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from neat.abi.messages import PROTO_TCP, REPLY, Address, Message, Op
from neat.boot import Boot
from neat.config import Config
from neat.shm import segment
from neat.shm.board import BOARD_BYTES, BoardReader
from neat.store import StoreServer

ROOT = Path(__file__).parents[2]
CONFIG = Config(sockets_per_app=512, replicas=2)
STACK = "10.77.0.2"
PATIENCE_S = 20


def pair():
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.settimeout(PATIENCE_S)
    return ends


def receive(sock):
    """One message with its descriptors."""
    data, fds, _flags, _address = socket.recv_fds(sock, 4096, 8)
    assert data, "the other end was closed"
    return Message.unpack(data), fds


def inode_of(sock):
    """As a message carries it: low and high word."""
    inode = os.fstat(sock.fileno()).st_ino
    return inode & 0xFFFF_FFFF, inode >> 32


class Client:
    """An application that speaks the control protocol by hand."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(path)
        self.seq = 0
        self.app = self.token = 0

    def send(self, message, fds=()):
        self.seq += 1
        message.seq = self.seq
        socket.send_fds(self.sock, [message.pack()], list(fds))

    def answer(self):
        message, fds = receive(self.sock)
        assert message.flags & REPLY
        assert message.seq == self.seq
        return message, fds

    def ask(self, message, fds=()):
        """The reply and the descriptors that came with it."""
        self.send(message, fds)
        return self.answer()

    def hello(self, token=0):
        reply, _ = self.ask(Message(Op.HELLO, token=token))
        assert reply.error == 0
        self.app, self.token = reply.app, reply.token
        return reply

    def bind(self, port=80, host=STACK, protocol=PROTO_TCP, flags=0):
        """(reply, the application's end)."""
        ours, theirs = pair()
        ours.send(b"c")
        request = Message(Op.BIND, local=Address.ipv4(host, port, protocol), options=flags, u=inode_of(ours))
        reply, _ = self.ask(request, [theirs.fileno()])
        theirs.close()
        return reply, ours

    def close(self):
        self.sock.close()


def bitmap(ports):
    """A memfd with a bit for each."""
    fd = os.memfd_create("ports")
    os.pwrite(fd, sum(1 << port for port in ports).to_bytes(8192, "little"), 0)
    return fd


def ports_of(fds):
    """The bits that are set in a bitmap of ports; closes it."""
    (fd,) = fds
    bits = int.from_bytes(os.pread(fd, 8192, 0), "little")
    os.close(fd)
    return {port for port in range(1 << 16) if bits >> port & 1} if bits else set()


class FakeReplica:
    def __init__(self, slot, sock):
        self.slot, self.sock = slot, sock
        self.shares = []  # ((rank, count), ports that are held; None: a question) that it was told
        self.uses = set()  # ports, as it answers

    def hello(self, incarnation=1):
        """What it is told, up to the welcome."""
        self.sock.send(Message(Op.REPLICA_HELLO, seq=7, replica=self.slot, incarnation=incarnation).pack())
        told = []
        while True:
            message, fds = receive(self.sock)
            if message.op == Op.PORTS:
                self.share(message, fds)
                continue
            for fd in fds:
                os.close(fd)
            if message.op == Op.WELCOME:
                assert message.seq == 7
                return told
            told.append(message)

    def share(self, message, fds):
        """Carry NEAT_OP_PORTS out, and answer it where that is asked for."""
        held = ports_of(fds) if fds else None
        self.shares.append((message.u[:2], held))
        if held is None:
            answer = Message(Op.PORTS, REPLY, message.seq, replica=self.slot, incarnation=message.incarnation)
            fd = bitmap(self.uses)
            socket.send_fds(self.sock, [answer.pack()], [fd])
            os.close(fd)

    def take_share(self, *, answer=True):
        """The next word about ports: (rank, count), and which are held, None if it is a question."""
        message, fds = receive(self.sock)
        assert message.op == Op.PORTS, message
        if answer:
            self.share(message, fds)
        else:
            self.shares.append((message.u[:2], ports_of(fds) if fds else None))
        return self.shares[-1]

    def take(self, op, *, answer=True, error=0):
        """Wait for a message of this op, letting ATTACH pass; answer it."""
        while True:
            message, fds = receive(self.sock)
            if message.op == op:
                break
            if message.op == Op.PORTS:
                self.share(message, fds)
                continue
            assert message.op in (Op.ATTACH, Op.APP_GONE, Op.SWEEP, Op.FULL), message
            for fd in fds:
                os.close(fd)
        if answer:
            self.answer(message, error)
        return message, fds

    def answer(self, message, error=0):
        self.sock.send(Message(message.op, REPLY, message.seq, error, replica=self.slot).pack())


class World:
    """Everything that outlives the syscall server."""

    def __init__(self, tmp_path, config=CONFIG):
        self.config = config
        self.path = str(tmp_path / "syscall.sock")
        self.board_fd = segment.create("board", BOARD_BYTES)
        self.board = BoardReader(self.board_fd)
        self.ctl, self.ctl_peer = pair()
        self.lifeline, self.guardian_end = os.pipe()
        self.listen = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listen.bind(self.path)
        self.listen.listen(64)
        self.replicas, self.sys, self.bells = [], [], []
        for k in range(config.replicas):
            mine, theirs = pair()
            self.replicas.append(FakeReplica(k, mine))
            self.sys.append(theirs)
            self.bells.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        self.store = StoreServer()
        self.store_ours, self.store_theirs = pair()
        self.store_ours.setblocking(False)
        self.over = threading.Event()
        self.wake, self.woken = socket.socketpair()
        self.asked = []  # (request to the store, the server's heartbeat then)
        self.thread = threading.Thread(target=self._serve_store)
        self.thread.start()
        self.process = None
        self.incarnation = 0

    def _serve_store(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.store_ours, selectors.EVENT_READ)
            selector.register(self.woken, selectors.EVENT_READ)
            while not self.over.is_set():
                for key, _ in selector.select():
                    if key.fileobj is self.store_ours:
                        request = self.store_ours.recv(4096, socket.MSG_PEEK)
                        self.asked.append((request, self.board.heartbeat("syscall")[1]))
                        self.store.handle(self.store_ours)

    def start(self):
        self.incarnation += 1
        fds = {
            "board": self.board_fd,
            "ctl": self.ctl.fileno(),
            "lifeline": self.lifeline,
            "listen": self.listen.fileno(),
            "store": self.store_theirs.fileno(),
        }
        for k in range(self.config.replicas):
            fds[f"sys{k}"] = self.sys[k].fileno()
            fds[f"bell.replica{k}"] = self.bells[k]
        boot = Boot("syscall", self.incarnation, self.config, fds)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neat.syscalls", boot.to_json()], pass_fds=list(fds.values()), cwd=ROOT
        )
        assert msgspec.json.decode(self.ctl_peer.recv(4096)) == {"event": "ready"}

    def tell(self, **message):
        self.ctl_peer.send(msgspec.json.encode(message))

    def bring_up(self, *slots, incarnation=1):
        """Replicas say hello and are declared active."""
        for slot in slots:
            self.replicas[slot].hello(incarnation)
            self.tell(op="replica_up", replica=slot, incarnation=incarnation)
            self.await_active(slot, True)

    def await_active(self, slot, active):
        """Until the server has heard what it was told over ctl, which it reads beside its clients."""
        client = self.client()
        client.hello()
        for _ in range(1000):
            if bool(client.ask(Message(Op.PREFER))[0].replica & 1 << slot) == active:
                client.close()
                return
        raise AssertionError(f"replica {slot} did not become {'active' if active else 'inactive'}")

    def kill(self):
        self.process.kill()
        assert self.process.wait(PATIENCE_S) == -signal.SIGKILL

    def client(self):
        return Client(self.path)

    def counter(self, name):
        return self.board.read("syscall").counters[name]

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        self.over.set()
        self.wake.send(b"x")
        self.thread.join(5)
        for fd in (self.board_fd, self.lifeline, self.guardian_end, *self.bells, *self.store.kept.values()):
            os.close(fd)
        for sock in (self.listen, self.store_ours, self.store_theirs, self.ctl, self.ctl_peer, *self.sys):
            sock.close()


@pytest.fixture
def world(tmp_path, request):
    """Settings: `@pytest.mark.parametrize("world", [{"max_udp": 8}], indirect=True)`."""
    made = World(tmp_path, msgspec.structs.replace(CONFIG, **getattr(request, "param", {})))
    made.start()
    yield made
    made.close()
