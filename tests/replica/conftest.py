"""A real replica process, with the real engine, among fakes: the test plays driver, syscall server,
supervisor, application and peer."""

import contextlib
import mmap
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from neat.abi import layout
from neat.abi.layout import neat_sock, sock_offset
from neat.abi.messages import PROTO_TCP, PROTO_UDP, REPLY, Address, Message, Op, channel_header
from neat.boot import Boot
from neat.config import Config
from neat.replica.sizes import holder_of, state_bytes
from neat.shm import doorbell, link, segment
from neat.shm import filter as filters
from neat.shm.board import BOARD_BYTES, BoardReader
from neat.shm.pyring import FRAME, MAX_RECORD

ROOT = Path(__file__).parents[2]
CONFIG = Config(
    sockets_per_app=512,
    socket_rx_bytes=1 << 16,
    socket_tx_bytes=1 << 16,
    max_connections=256,
    replicas=1,
    spin_us=0,
    datapath="driver",
)
DATAPATHS = ("driver", "queues")
STACK, PEER = "10.77.0.2", "10.77.0.1"
PEER_MAC = "02:00:00:00:00:01"
VNET = bytes(10)
VOUCHED = b"\x02" + bytes(9)  # VNET_F_DATA_VALID: the device has verified the checksum
PATIENCE_S = 20
GEOMETRY = (CONFIG.sockets_per_app, CONFIG.socket_rx_bytes, CONFIG.socket_tx_bytes)

CORD = 9  # the number of an application's first one
REQ_SHUT_WR, REQ_ACCEPTED = layout.NEAT_REQ_SHUT_WR, layout.NEAT_REQ_ACCEPTED
ST_CONNECTED, ST_RDHUP, ST_ERROR = layout.NEAT_ST_CONNECTED, layout.NEAT_ST_RDHUP, layout.NEAT_ST_ERROR


def await_true(condition, what):
    """Poll a condition of another process that has no descriptor to wait on."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"never happened: {what}"
        time.sleep(0.002)


def wait_readable(*descriptors, seconds=1):
    """Whether one of them is; their numbers may be any."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def pair():
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.settimeout(PATIENCE_S)
    return ends


def receive(sock):
    """A struct neat_msg and its descriptors."""
    data, fds, _flags, _address = socket.recv_fds(sock, 4096, 4)
    return Message.unpack(data), fds


class Channel:
    """Segment app a,k as the application maps it: what the client core would do, by hand."""

    def __init__(self, app):
        self.app, self.bell = app, doorbell.make()
        self.fd = segment.create(f"app{app}", layout.channel_bytes(*GEOMETRY))
        os.pwrite(self.fd, channel_header(app, 0, 1, *GEOMETRY), 0)
        self.memory = mmap.mmap(self.fd, layout.channel_bytes(*GEOMETRY))

    def get(self, sock, name):
        """A field of a socket object."""
        return neat_sock.get(self.memory, name, sock_offset(sock))

    def put(self, sock, name, value):
        neat_sock.put(self.memory, name, value, sock_offset(sock))

    def read(self, sock):
        """Everything in the receive ring."""
        head, tail = self.get(sock, "rx_head"), self.get(sock, "rx_tail")
        at, size = layout.rx_offset(*GEOMETRY, sock), GEOMETRY[1]
        data = self.memory[at + head % size : at + size] + self.memory[at : at + size]
        self.put(sock, "rx_head", tail)
        return data[: tail - head]

    def write(self, sock, data, ring=True):
        tail = self.get(sock, "tx_tail")
        at, size = layout.tx_offset(*GEOMETRY, sock), GEOMETRY[2]
        first = min(len(data), size - tail % size)
        self.memory[at + tail % size : at + tail % size + first] = data[:first]
        self.memory[at : at + len(data) - first] = data[first:]
        self.put(sock, "tx_tail", tail + len(data))
        self.touch(sock, ring)

    def touch(self, sock, ring=True):
        """Set the dirty bit, and ring."""
        word = layout.NEAT_DIRTY_OFFSET + (sock >> 6) * 8
        struct.pack_into(
            "<Q", self.memory, word, struct.unpack_from("<Q", self.memory, word)[0] | 1 << (sock & 63)
        )
        at = layout.NEAT_SUMMARY_OFFSET + (sock >> 12) * 8
        bit = 1 << ((sock >> 6) & 63)
        struct.pack_into("<Q", self.memory, at, struct.unpack_from("<Q", self.memory, at)[0] | bit)
        if ring:
            doorbell.ring(self.bell)


class World:
    """With the datapath "queues" a socket plays the replica's queue of the device: a frame is a message."""

    def __init__(self, config=CONFIG):
        self.config = config
        self.board_fd = segment.create("board", BOARD_BYTES)
        self.board = BoardReader(self.board_fd)
        self.link_fd = segment.create("link0", link.link_bytes(config.ring_bytes, config.ring_bytes))
        link.initialise(self.link_fd, config.ring_bytes, config.ring_bytes)
        self.state_fd = segment.create("state0", state_bytes(config))
        self.filter_fd, self.track_fd = filters.create(), filters.create_track()
        self.link = link.Link(self.link_fd, config.ring_bytes, config.ring_bytes)
        self.rx = self.link.rx_ring(producer=True)
        self.tx = self.link.tx_ring(producer=False)
        self.bell, self.driver_bell = doorbell.make(), doorbell.make()
        self.ctl, ctl_theirs = pair()
        self.sys, sys_theirs = pair()
        self.lifeline, self.guardian_end = os.pipe()
        self.theirs = [ctl_theirs, sys_theirs]
        self.fds = {
            "board": self.board_fd,
            "ctl": ctl_theirs.fileno(),
            "sys": sys_theirs.fileno(),
            "lifeline": self.lifeline,
            "link": self.link_fd,
            "state": self.state_fd,
            "filter": self.filter_fd,
            "track": self.track_fd,
            "bell": self.bell,
            "bell.driver": self.driver_bell,
        }
        self.queue = None
        self.vnet = VNET  # of the frames that are injected
        if config.datapath == "queues":
            self.queue, queue_theirs = pair()
            queue_theirs.setblocking(False)
            self.theirs.append(queue_theirs)
            self.fds["queue"] = queue_theirs.fileno()
        self.seq = 0
        self.process = None
        self.ends = []
        self.channels = {}

    def boot(self, incarnation=1, state=0):
        return Boot("replica0", incarnation, self.config, self.fds, "5a" * 32, state)

    def start(self, incarnation=1, state=0):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neat.replica", self.boot(incarnation, state).to_json()],
            pass_fds=list(self.fds.values()),
            cwd=ROOT,
        )

    def welcome(self):
        hello, _ = receive(self.sys)
        assert (hello.op, hello.replica) == (Op.REPLICA_HELLO, 0)
        held = os.memfd_create("ports")
        os.ftruncate(held, 8192)
        share = Message(Op.PORTS, incarnation=hello.incarnation, u=(0, 1))  # all of them
        socket.send_fds(self.sys, [share.pack()], [held])
        os.close(held)
        self.sys.send(Message(Op.WELCOME, seq=hello.seq, incarnation=hello.incarnation).pack())
        assert msgspec.json.decode(self.ctl.recv(4096)) == {"event": "ready"}

    def kill(self):
        """SIGKILL: no instruction more."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def lose(self):
        """Kill the process, and then whoever holds its descriptors: its state is lost."""
        self.kill()
        holder = holder_of(self.state_fd)
        if holder is not None:
            os.kill(holder[0], signal.SIGKILL)
        self.theirs[1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # what it had not taken out of `sys`, its successor does
                self.theirs[1].recv(4096)

    def succeed(self, incarnation=2):
        """A successor goes on with the state; it is ready without being welcomed."""
        self.start(incarnation, state=1)
        assert msgspec.json.decode(self.ctl.recv(4096))["event"] == "ready"

    # --- as the syscall server

    def say(self, message, *fds):
        self.seq += 1
        message.seq = self.seq
        socket.send_fds(self.sys, [message.pack()], list(fds))

    def ask(self, message, fd):
        """The replica's answer."""
        self.say(message, fd)
        while True:
            answer, _ = receive(self.sys)
            if answer.flags & REPLY and answer.seq == self.seq:
                return answer

    def attach(self, app=1):
        channel = Channel(app)
        self.say(Message(Op.ATTACH, app=app, u=(*GEOMETRY, os.getpid())), channel.fd, channel.bell)
        channel.cord = self.cord(app)
        self.channels[app] = channel
        return channel

    def cord(self, app=1, number=CORD):
        """The application's end of one."""
        ours, theirs = pair()
        self.say(Message(Op.ADD_CORD, app=app, u=(number,)), theirs.fileno())
        theirs.close()
        self.ends.append(ours)
        return ours

    def _end(self, op, app, sock, port, protocol, backlog=0):
        ours, theirs = pair()
        ours.send(b"c")
        local = Address.ipv4(STACK, port, protocol)
        answer = self.ask(
            Message(op, app=app, sock=sock, bind_id=port, backlog=backlog, local=local), theirs.fileno()
        )
        assert answer.error == 0
        self.ends.append(theirs)
        return ours

    def listen(self, app=1, sock=3, port=80, backlog=16):
        """The application's end of a listening socket."""
        return self._end(Op.ADD_LISTENER, app, sock, port, PROTO_TCP, backlog)

    def udp(self, app=1, sock=4, port=53):
        return self._end(Op.ADD_UDP, app, sock, port, PROTO_UDP)

    # --- as the application

    def accept(self, listener):
        """(NEAT_EV_ACCEPT, the connection's end): what accept() of the client core does."""
        message, fds = receive(listener)
        assert message.op == Op.ACCEPT and not fds
        return message, self.claim(message)

    def claim(self, message, cord=None, number=CORD, waiters=layout.NEAT_WAITERS_UNSEEN):
        """The application's end of a new pair for that connection, whose other end goes over the cord."""
        channel = self.channels[message.app]
        ours, theirs = pair()
        ours.send(b"c")
        channel.put(message.sock, "claim", number << 32 | layout.NEAT_CLAIM_CORD)
        channel.put(message.sock, "waiters", waiters)
        self.send_stack_end(message, theirs, channel.cord if cord is None else cord)
        theirs.close()
        return ours

    def send_stack_end(self, message, end, cord):
        order = Message(Op.STACK_END, sock=message.sock, generation=message.generation, u=(message.u[0],))
        socket.send_fds(cord, [order.pack()], [end.fileno()])

    # --- as the driver or the kernel, and the peer behind it

    def inject(self, *frames):
        """As they are steered: what is plain TCP or UDP goes into the replica's queue, if it has one."""
        for frame in frames:
            data = (
                frame
                if isinstance(frame, bytes)
                else self.vnet + bytes(Ether(src=PEER_MAC, dst=self.mac) / frame)
            )
            if self.queue is None or isinstance(frame, bytes) or not (TCP in frame or UDP in frame):
                assert self.rx.push(data, FRAME, time.monotonic_ns())
            else:
                self.queue.send(data)
        if self.rx.publish():
            doorbell.ring(self.bell)

    @property
    def mac(self):
        return self.config.mac_bytes().hex(":")

    def sent(self):
        """(record type, bytes) of what the replica gave to the driver; then, as FRAME, of what it put
        into its queue."""
        while (record := self.tx.pop()) is not None:
            kind, _stamp, data = record
            yield kind, data
        self.tx.release()
        while self.queue is not None and wait_readable(self.queue, seconds=0):
            yield FRAME, self.queue.recv(MAX_RECORD)

    def frames(self):
        """What the replica has sent, without waiting: scapy packets."""
        return [Ether(data[10:]) for kind, data in self.sent() if kind == FRAME]

    def expect(self, match, what="a frame"):
        """Wait for a frame that satisfies `match`; ARP is answered, others are passed over."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self.tx.prepare_sleep():
                wait_readable(self.driver_bell, *([self.queue] if self.queue is not None else []))
                doorbell.clear(self.driver_bell)
                self.tx.cancel_sleep()
            for frame in self.frames():
                if ARP in frame and frame[ARP].op == 1:
                    reply = ARP(op=2, hwsrc=PEER_MAC, psrc=PEER, hwdst=self.mac, pdst=frame[ARP].psrc)
                    self.inject(VNET + bytes(Ether(src=PEER_MAC, dst=self.mac) / reply))
                elif match(frame):
                    return frame
        raise AssertionError(f"never sent: {what}")

    def counters(self):
        return self.board.read("replica0").counters

    def await_counter(self, name, value):
        await_true(
            lambda: self.counters()[name] >= value, f"{name} >= {value}, it is {self.counters()[name]}"
        )

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        for fd in (self.board_fd, self.link_fd, self.state_fd, self.filter_fd, self.track_fd):
            os.close(fd)
        for fd in (self.bell, self.driver_bell, self.lifeline):
            os.close(fd)
        os.close(self.guardian_end)
        for channel in self.channels.values():
            os.close(channel.fd)
            os.close(channel.bell)
        for sock in (self.ctl, self.sys, self.queue, *self.theirs, *self.ends):
            if sock is not None:
                sock.close()


class Peer:
    """A TCP peer that does what it is told, one segment at a time."""

    def __init__(self, world, sport=40000, dport=80):
        self.world, self.sport, self.dport = world, sport, dport
        self.seq, self.ack = 1000, 0

    def segment(self, flags, data=b"", **fields):
        header = TCP(
            sport=self.sport,
            dport=self.dport,
            flags=flags,
            seq=self.seq,
            ack=self.ack,
            window=65535,
            **fields,
        )
        return IP(src=PEER, dst=STACK) / header / data

    def send(self, flags, data=b"", **fields):
        self.world.inject(self.segment(flags, data, **fields))
        self.seq += len(data) + ("S" in flags) + ("F" in flags)

    def expect(self, what, match):
        """Wait for a segment of ours, acknowledging what it carries."""

        def mine(frame):
            return TCP in frame and frame[TCP].dport == self.sport and match(frame[TCP])

        tcp = self.world.expect(mine, what)[TCP]
        self.ack = tcp.seq + payload_length(tcp) + ("S" in tcp.flags) + ("F" in tcp.flags)
        return tcp

    def connect(self):
        self.send("S", options=[("MSS", 1460)])
        self.expect("SYN-ACK", lambda tcp: tcp.flags == "SA")
        self.send("A")


def payload_length(tcp):
    ip = tcp.underlayer
    return ip.len - ip.ihl * 4 - tcp.dataofs * 4


@contextlib.contextmanager
def running_world(**settings):
    made = World(msgspec.structs.replace(CONFIG, **settings))
    try:
        made.start()
        made.welcome()
        yield made
    finally:
        made.close()


@pytest.fixture
def world():
    with running_world() as made:
        yield made


@pytest.fixture(params=DATAPATHS)
def each_world(request):
    """One of each datapath."""
    with running_world(datapath=request.param) as made:
        yield made


__all__ = ["UDP", "await_true", "receive", "resource", "signal"]
