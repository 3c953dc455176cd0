"""A stack that dies at each of its stores in turn, and goes on: for test_recovery_everywhere.py.

A World is an engine, an application and the peers at the other end of the wire, all of them deterministic. It
does one thing after another (`_step`): a frame comes in, commands are looked at, timers expire, one record
leaves, events are taken; and when all is quiet the next line of its script. `record` plays the script once
and keeps what stood in the segments after each store of the engine, and what the rest of the world was like
when the call began that the store belongs to. `replay` puts the segments back as one of these stores left
them, attaches a fresh engine to them, lets the process's part of the work be done again, and plays on to the
end, which must be the right one.
"""

import pickle
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from neat.abi import layout
from neat.stack.lab import Lab
from neat.stack.stores import Stores

from .conn import _start_time, pattern
from .frames import (
    ACK,
    DATA_VALID,
    FIN,
    PEER_IP,
    RST,
    SYN,
    TCP,
    UDP,
    arp_reply_to,
    ethernet,
    ipv4,
    read_packet,
    tcp,
    udp,
)
from .host import EV_ACCEPT, REQ_ACCEPTED, REQ_SHUT_WR, SECOND

STACK_PORT, PEER_PORT, UDP_PORT = 80, 40000, 53
LISTENER, UDP_SOCK = 7, 8
RTO = 300_000_000
MASK = 0xFFFFFFFF
CHUNK = 300  # bytes of text in a peer's segment
PATIENCE = 400 * SECOND
SMALL = {
    "max_connections": 8,
    "max_listeners": 4,
    "max_udp": 4,
    "nsock": 320,
    "rx_size": 4096,
    "tx_size": 4096,
}


class Peer:
    """A small TCP: an ACK for each segment, at a timeout the first segment again and nothing behind it;
    sequence numbers relative to its ISN."""

    def __init__(self, port: int, iss: int, stamps: bool = False):
        self.port, self.iss = port, iss
        self.state = "listen"
        self.out, self.una, self.nxt, self.most = b"", 0, 0, 0
        self.fin = self.fin_acked = False
        self.irs, self.rcv_nxt, self.received, self.eof = 0, 0, b"", False
        self.window = 1
        self.timer: int | None = None
        self.lose: set[int] = set()  # segments that the wire loses, once: numbers of those with text
        self.late: set[int] = set()  # those that come after the one behind them
        self.texts = 0  # segments with text that were sent, ...
        self.chunks = 0  # ... those that were sent again not counted
        self.resets = 0
        self.held: list[bytes] = []
        self.deaf = False  # takes nothing in for now
        self.refuses = False  # answers a SYN by a RST
        self.space = 4000  # its window
        self.stamps = stamps  # RFC 7323
        self.stamp, self.heard_stamp = 1000, 0

    def segment(self, rel: int, flags: int, payload: bytes = b"", options: bytes = b"") -> bytes:
        if self.stamps:
            self.stamp += 1
            options += struct.pack("!BBBBII", 1, 1, 8, 10, self.stamp, self.heard_stamp if flags & ACK else 0)
        ack = self.irs + self.rcv_nxt if flags & ACK else 0
        body = tcp(self.port, STACK_PORT, self.iss + rel, ack, flags, self.space, options, payload)
        return ethernet(ipv4(body, TCP))

    def open(self, now: int) -> list[bytes]:
        self.state, self.nxt, self.most, self.timer = "syn_sent", 1, 1, now + 3 * RTO
        return [self.segment(0, SYN, options=b"\2\4\5\xb4")]

    def pump(self, now: int) -> list[bytes]:
        """What may leave now."""
        frames: list[bytes] = []
        if self.state != "open":
            return frames
        end = 1 + len(self.out)
        while self.nxt < end and self.nxt - self.una < self.window:
            size = min(CHUNK, end - self.nxt, self.window - (self.nxt - self.una))
            frames += self._text(self.nxt, self.out[self.nxt - 1 :][:size])
            self.chunks += 1
            self.nxt += size
        frames += self.held
        self.held = []
        if self.fin and self.nxt == end:
            frames.append(self.segment(end, FIN | ACK))
            self.nxt = end + 1
        self.most = max(self.most, self.nxt)
        if self.timer is None and (self.una < self.most or (self.window == 0 and self.nxt < end)):
            self.timer = now + RTO
        return frames

    def _text(self, rel: int, payload: bytes) -> list[bytes]:
        frame = self.segment(rel, ACK, payload)
        number, self.texts = self.texts, self.texts + 1
        if number in self.lose:
            return []
        if number in self.late:
            self.held.append(frame)
            return []
        held, self.held = self.held, []
        return [frame, *held]

    def expire(self, now: int) -> list[bytes]:
        if self.timer is None or self.timer > now:
            return []
        self.timer = now + 3 * RTO
        if self.state == "syn_sent":
            return [self.segment(0, SYN, options=b"\2\4\5\xb4")]
        if self.state == "syn_rcvd":
            return [self.segment(0, SYN | ACK, options=b"\2\4\5\xb4")]
        if self.window == 0 and self.una <= len(self.out):
            self.most = max(self.most, self.una + 1)
            return [self.segment(self.una, ACK, self.out[self.una - 1 :][:1])]
        if self.una < self.most:
            if self.una <= len(self.out):
                return self._text(self.una, self.out[self.una - 1 :][:CHUNK])
            return [self.segment(self.una, FIN | ACK)]
        self.timer = None
        return []

    def receive(self, s, now: int) -> list[bytes]:
        """One segment of the stack; the answers."""
        for option in s.options:
            if option[0] == "TS":
                self.heard_stamp = option[1]
        if self.deaf:
            return []
        if s.flags & RST:
            self.resets += 1
            self.state, self.timer = "reset", None
            return []
        if s.flags & SYN:
            if self.refuses:
                self.irs, self.rcv_nxt = s.seq, 1
                return [self.segment(0, RST | ACK)]
            return self._opens(s, now)
        if self.state == "syn_rcvd" and s.flags & ACK:
            self.state = "open"
        if self.state != "open":
            return []
        self._acked(s, now)
        return self._takes(s) + self.pump(now)

    def _opens(self, s, now: int) -> list[bytes]:
        if self.state in ("open", "reset"):
            return [self.segment(self.most, ACK)]
        self.irs, self.rcv_nxt = s.seq, 1
        if s.flags & ACK:
            self.state, self.una, self.timer, self.window = "open", 1, None, s.window
            return [self.segment(1, ACK), *self.pump(now)]
        self.state, self.nxt, self.most, self.timer = "syn_rcvd", 1, 1, now + 3 * RTO
        return [self.segment(0, SYN | ACK, options=b"\2\4\5\xb4")]

    def _acked(self, s, now: int) -> None:
        rel = s.ack - self.iss & MASK
        assert rel <= self.most, f"the stack acknowledges {rel}, {self.most} was sent"
        if rel >= self.una:
            self.window = s.window
        if rel > self.una:
            self.una, self.nxt = rel, max(self.nxt, rel)
            self.timer = now + RTO if self.una < self.most else None
            self.fin_acked = self.fin and rel == len(self.out) + 2

    def _takes(self, s) -> list[bytes]:
        rel = s.seq - self.irs & MASK
        if not s.payload and not s.flags & FIN:
            return [self.segment(self.nxt, ACK)] if rel + 1 == self.rcv_nxt else []  # a keepalive
        skip = self.rcv_nxt - rel
        if 0 <= skip < len(s.payload) or (skip == 0 and not s.payload):
            self.received += s.payload[skip:]
            self.rcv_nxt = rel + len(s.payload)
        if s.flags & FIN and self.rcv_nxt == rel + len(s.payload) and not self.eof:
            self.eof = True
            self.rcv_nxt += 1
        return [self.segment(self.nxt, ACK)]


@dataclass
class Socket:
    """What the application has of a connection."""

    conn: int
    sock: int
    generation: int
    passive: bool
    sent: bytes = b""
    waiting: bytes = b""  # for room
    received: bytes = b""
    closed: bool = False
    shut: bool = False


@dataclass
class Things:
    """All of a world but its segments and its engine: what a snapshot keeps."""

    peers: dict[int, Peer] = field(default_factory=dict)
    sockets: list[Socket] = field(default_factory=list)
    wire_in: list[bytes] = field(default_factory=list)
    wire_out: list[bytes] = field(default_factory=list)
    datagrams_in: list[bytes] = field(default_factory=list)  # that the application has read
    datagrams_out: list[bytes] = field(default_factory=list)  # that the peer has heard
    line: int = 0
    phase: str = "arrive"
    busy: bool = False
    until: int | None = None  # nothing more is done before, but what is due
    accepted: int = 0
    since: int = 0  # the script's last line
    now: int = 0
    position: int = 0


@dataclass
class Moment:
    """One call of the engine: the world and its segments when it began, and each store that it made."""

    things: bytes
    call: tuple
    state: bytes
    channel: list[bytes]
    stores: list[tuple[int, int, bytes]]


Images = list[bytearray]  # of the state segment, and of parts of the channel


class World:
    """`settings` are Lab's. `verdict` looks at a world at its end: None, or what is not as it should be."""

    def __init__(
        self,
        script: list[tuple],
        verdict,
        iss: int | None = None,
        irs: int = 1000,
        stamps: bool = False,
        **settings,
    ):
        self.settings = {**SMALL, **settings}
        if iss is not None:
            self.settings["now"] = _start_time(iss, STACK_PORT, PEER_PORT)
        self.script, self.verdict, self.irs, self.stamps = script, verdict, irs, stamps
        self.lab = Lab(**self.settings)
        self.things = Things(now=self.lab.now)
        self.stores: Stores | None = None
        self.moments: list[Moment] = []
        # of the channel: header to socket objects, the rings of the UDP socket and of the first connections
        rings = self.lab.rx_ring(UDP_SOCK), self.lab.rx_ring(layout.NEAT_SHARED_SOCKS)
        each = self.settings["rx_size"] + self.settings["tx_size"]
        self.parts = [
            slice(0, layout.sock_offset(self.settings["nsock"])),
            slice(rings[0], rings[0] + each),
            slice(rings[1], rings[1] + 3 * each),
        ]

    def play(self) -> None:
        """The script to its end; from its line "watch" on each store is kept."""
        while self._step():
            pass
        self._finish()

    def replay(self) -> int:
        """Stop at each store in turn, with what was said since the last publication heard, and lost, and play
        on; where a connection's state is new, stop the successor at each store of its recovery, too. How many
        times; AssertionError names the places where it went wrong."""
        other = World(
            self.script,
            self.verdict,
            irs=self.irs,
            stamps=self.stamps,
            **{**self.settings, "now": self.things.now},
        )
        problems: list[str] = []
        n = 0
        states = set()
        for number, moment in enumerate(self.moments):
            place = f"{number} {moment.call[0]}"
            images: Images = [bytearray(moment.state), *map(bytearray, moment.channel)]
            for k, store in enumerate(moment.stores):
                if not self._apply(images, store):
                    continue  # it changed nothing: the same memory as before
                n += other._both_ways(moment, images, f"{place} {k} at {store[0]}:{store[1] + 64}", problems)
                if (state := _state(images[0])) not in states:
                    states.add(state)
                    n += other._again_and_again(moment, images, f"{place} {k}", problems)
        assert not problems, f"{len(problems)} of {n}:\n" + "\n".join(problems[:12])
        return n

    def _both_ways(self, moment: Moment, images: Images, place: str, problems: list[str]) -> int:
        for lost in (False, True):
            try:
                self.resume(moment, images, lost)
            except Exception as error:
                problems.append(f"{place} {'lost' if lost else 'heard'}: {error!r}")
        return 2

    def _again_and_again(self, moment: Moment, images: Images, place: str, problems: list[str]) -> int:
        """The successor dies, too, at each store of its recovery."""
        n = 0
        self._put(moment, images)
        watched = Stores(self.lab.state, self.lab.channel)
        watched.watch()
        try:
            self.lab.crash()
        finally:
            stores = watched.rest()
        images = [bytearray(image) for image in images]
        for k, store in enumerate(stores):
            if self._apply(images, store):
                n += self._both_ways(
                    moment, images, f"{place} recovery {k} at {store[0]}:{store[1] + 64}", problems
                )
        return n

    def _put(self, moment: Moment, images: Images) -> None:
        self.lab.state[:] = images[0]
        for part, image in zip(self.parts, images[1:], strict=True):
            self.lab.channel[part] = image
        self.lab.now = pickle.loads(moment.things).now

    def _apply(self, images: Images, store: tuple[int, int, bytes]) -> bool:
        """Bring images of the segments to after this store. Did it change anything?"""
        region, offset, after = store
        starts = [0] if region == 0 else [part.start for part in self.parts]
        for start, image in zip(starts, images[:1] if region == 0 else images[1:], strict=True):
            low, high = max(offset, start), min(offset + len(after), start + len(image))
            new = after[low - offset : high - offset]
            if low < high and image[low - start : high - start] != new:
                image[low - start : high - start] = new
                return True
        return False

    def resume(self, moment: Moment, images: Images, lost: bool) -> None:
        lab = self.lab
        t = self.things = pickle.loads(moment.things)
        self._put(moment, images)
        lab.crash()
        if lost:
            t.wire_out = []
        if moment.call[0] == "arrive" and lab.position == t.position:
            t.wire_in.insert(0, moment.call[1])
        self._publish()
        self._again(moment.call)
        bad = {name: n for name, n in lab.counters().items() if name.startswith("RECOVER_") and n}
        bad.pop("RECOVER_CONNECTIONS", None)
        if moment.call[0] in ("unlisten", "detach"):
            bad.pop("RECOVER_NO_LISTENER", None)
        assert not bad, bad
        t.phase = "arrive"
        self.play()

    def _again(self, call: tuple) -> None:
        """The process's part: what it had asked for and has no answer to, it asks again."""
        lab, t = self.lab, self.things
        self._events(lab.events())
        for conn in range(self.settings["max_connections"]):
            info = lab.conn_info(conn)
            if info is not None and not info["passive"] and not any(s.conn == conn for s in t.sockets):
                lab.close(conn)
        for socket in t.sockets:
            if socket.closed and self._lives(socket):
                lab.close(socket.conn)
        if call[0] == "connect":
            self._adopt(self._carry_out(call))
        elif call[0] in ("listen", "bind", "defer", "unlisten", "unbind", "detach"):
            with suppress(OSError):  # it was done
                self._carry_out(call)

    # One call of the engine after another -------------------------------------------------------------

    def _call(self, *call):
        t = self.things
        t.now, t.position = self.lab.now, self.lab.position
        if self.stores is None:
            return self._carry_out(call)
        moment = Moment(
            pickle.dumps(t), call, bytes(self.lab.state), [self.lab.channel[part] for part in self.parts], []
        )
        self.stores.watch()
        try:
            result = self._carry_out(call)
        finally:
            moment.stores = self.stores.rest()
        self.moments.append(moment)
        return result

    def _carry_out(self, call: tuple):
        name, *arguments = call
        match name:
            case "arrive":
                return self.lab.arrive(arguments[0], flags=DATA_VALID)
            case "expire":
                return self.lab.advance(0)
            case "transmit":
                return self.lab.transmit(limit=1)
            case "connect":
                return self.lab.connect(PEER_IP, PEER_PORT, local_port=STACK_PORT)
            case "listen":
                return self.lab.listen(LISTENER, STACK_PORT, backlog=2)
            case "bind":
                return self.lab.udp_bind(UDP_SOCK, UDP_PORT)
            case "defer":
                return self.lab.set_defer(LISTENER, arguments[0])
            case "close":
                return self.lab.close(arguments[0])
            case "unlisten":
                return self.lab.unlisten(LISTENER)
            case "unbind":
                return self.lab.udp_unbind(UDP_SOCK)
        return getattr(self.lab, name)()

    def _step(self) -> bool:
        """One call, or the next line of the script. False: the script is over and all is quiet."""
        t = self.things
        match t.phase:
            case "arrive":
                if t.wire_in:
                    t.busy = True
                    self._call("arrive", t.wire_in.pop(0))
                else:
                    t.phase = "scan"
            case "scan":
                t.phase = "expire"
                if self.lab.pending:
                    t.busy = True
                    self._call("scan")
            case "expire":
                t.phase = "transmit"
                if self.lab.deadline is not None and self.lab.deadline <= self.lab.now:
                    t.busy = True
                    self._call("expire")
            case "transmit":
                out = self._call("transmit")
                t.wire_out += [record for kind, record in out if kind == 1]
                if not out:
                    t.phase = "events"
            case "events":
                t.phase = "publish"
                self._events(self.lab.events())
            case "publish":
                t.phase = "arrive"
                t.busy |= bool(t.wire_out)
                self._publish()
                if not t.busy and not t.wire_in and not self.lab.pending:
                    return self._idle()
                t.busy = False
        return True

    def _idle(self) -> bool:
        """All is quiet: time goes on, or the script does."""
        t = self.things
        if t.until is not None:
            self._pass_time(t.until)
            if self.lab.now >= t.until:
                t.until = None
        elif t.line < len(self.script):
            t.line += 1
            if self.script[t.line - 1] != ("accept",):
                t.since = self.lab.now
            self._do(*self.script[t.line - 1])
        else:
            return False
        return True

    def _pass_time(self, end: int) -> None:
        """To the next time that something is due, at most to `end`."""
        times = [p.timer for p in self.things.peers.values() if p.timer is not None]
        if self.lab.deadline is not None:
            times.append(self.lab.deadline)
        self.lab.now = max(self.lab.now, min([*times, end]))
        for peer in self.things.peers.values():
            self.things.wire_in += peer.expire(self.lab.now)

    def _finish(self) -> None:
        """Until the verdict is good, or for too long."""
        self.stores = None
        end = self.lab.now + PATIENCE
        while True:
            for socket in self.things.sockets:
                if not socket.closed and self._lives(socket):
                    socket.received += self.lab.recv(socket.sock)
                    self._write(socket)
            while self._step():
                pass
            problem = self.verdict(self)
            if problem is None:
                return
            assert self.lab.now < end, problem
            self._pass_time(end)

    def _publish(self) -> None:
        t = self.things
        for record in t.wire_out:
            frame = record[10:]
            if frame[12:14] == b"\x08\x06":
                if frame[20:22] == b"\0\1" and frame[28:32] != frame[38:42]:
                    t.wire_in.append(arp_reply_to(frame))
                continue
            packet = read_packet(record)
            assert packet is not None
            if packet.protocol == UDP:
                t.datagrams_out.append(packet.payload[8:])
            elif packet.segment is not None:
                peer = t.peers.setdefault(packet.segment.dport, self._peer(packet.segment.dport))
                t.wire_in += peer.receive(packet.segment, self.lab.now)
        t.wire_out = []

    def _peer(self, port: int) -> Peer:
        """One with a new ISN."""
        return Peer(port, (self.irs + (1 << 20) * len(self.things.sockets)) & MASK, self.stamps)

    def _events(self, events: list) -> None:
        for event in events:
            known = any((s.conn, s.generation) == (event.conn, event.generation) for s in self.things.sockets)
            if event.kinds & EV_ACCEPT and not known:
                self.things.sockets.append(Socket(event.conn, event.sock, event.generation, True))

    @property
    def closed(self) -> bool:
        """Is the UDP socket closed?"""
        return any(line == ("unbind",) for line in self.script[: self.things.line])

    def _lives(self, socket: Socket) -> bool:
        info = self.lab.conn_info(socket.conn)
        return info is not None and (info["sock"], info["generation"]) == (socket.sock, socket.generation)

    def _adopt(self, conn: int) -> None:
        info = self.lab.conn_info(conn)
        self.things.sockets.append(Socket(conn, info["sock"], info["generation"], False))

    def _write(self, socket: Socket) -> None:
        n = self.lab.send(socket.sock, socket.waiting)
        socket.sent += socket.waiting[:n]
        socket.waiting = socket.waiting[n:]

    # The script -----------------------------------------------------------------------------------

    def _do(self, name: str, *arguments) -> None:
        if name.startswith("peer "):
            self._peer_does(name, *arguments)
            return
        t = self.things
        socket = t.sockets[-1] if t.sockets else None
        match name:
            case "watch":
                if not self.moments:
                    self.stores = Stores(self.lab.state, self.lab.channel)
            case "wait":
                t.until = self.lab.now + round(arguments[0] * SECOND)
            case "listen" | "bind" | "defer" | "unlisten" | "unbind" | "detach":
                self._call(name, *arguments)
            case "connect":
                self._adopt(self._call("connect"))
            case "connect refused":
                t.peers[PEER_PORT] = self._peer(PEER_PORT)
                t.peers[PEER_PORT].refuses = True
                self._adopt(self._call("connect"))
            case "connect crossing":
                self._adopt(self._call("connect"))
                t.peers[PEER_PORT] = self._peer(PEER_PORT)
                t.wire_in += t.peers[PEER_PORT].open(self.lab.now)
            case "accept":
                if len([s for s in t.sockets if s.passive]) <= t.accepted:
                    t.line -= 1  # there is none yet
                    t.until = self.lab.now + SECOND // 5
                    assert self.lab.now - t.since < PATIENCE, "nobody comes"
                else:
                    t.accepted += 1
                    self.lab.request(socket.sock, REQ_ACCEPTED)
            case "send":
                socket.waiting += pattern(len(socket.sent) + len(socket.waiting), arguments[0])
                self._write(socket)
            case "recv":
                socket.received += self.lab.recv(socket.sock, *arguments)
            case "shutdown":
                socket.shut = True
                self.lab.request(socket.sock, REQ_SHUT_WR)
            case "close" | "abort":
                if name == "abort":
                    self.lab.request(socket.sock, layout.NEAT_REQ_ABORT)
                elif self._lives(socket):
                    socket.received += self.lab.recv(socket.sock)
                socket.closed = True
                self._call("close", socket.conn)
            case "datagrams":
                for n in range(arguments[0]):
                    t.wire_in.append(ethernet(ipv4(udp(5000, UDP_PORT, b"%d" % n * 20), UDP)))
            case "sendto":
                for n in range(arguments[0]):
                    self.lab.send_datagram(UDP_SOCK, b"out%d" % n, PEER_IP, 5000)
            case "recvfrom":
                while (datagram := self.lab.recv_datagram(UDP_SOCK)) is not None:
                    t.datagrams_in.append(datagram[0])
            case _:
                raise ValueError(name)

    def _peer_does(self, name: str, *arguments) -> None:
        t = self.things
        if name in ("peer opens", "peer opens and sends"):
            t.peers[PEER_PORT] = self._peer(PEER_PORT)
            t.peers[PEER_PORT].out = pattern(0, sum(arguments))
            t.wire_in += t.peers[PEER_PORT].open(self.lab.now)
            return
        peer = t.peers[PEER_PORT]
        match name:
            case "peer sends":
                length, lose, late = (*arguments, (), ())[:3]
                peer.out += pattern(len(peer.out), length)
                peer.lose = {peer.texts + n for n in lose}
                peer.late = {peer.texts + n for n in late}
                t.wire_in += peer.pump(self.lab.now)
            case "peer closes":
                peer.fin = True
                t.wire_in += peer.pump(self.lab.now)
            case "peer ends backwards":
                peer.out += pattern(len(peer.out), 2 * CHUNK)
                peer.fin = True
                t.wire_in += peer.pump(self.lab.now)[::-1]
            case "peer resets":
                t.wire_in.append(peer.segment(peer.nxt, RST | ACK))
                peer.state, peer.timer = "gone", None
            case "peer deaf":
                peer.deaf = arguments[0]
            case "peer space":
                peer.space = arguments[0]
                t.wire_in.append(peer.segment(peer.nxt, ACK))
            case _:
                raise ValueError(name)


def _state(state: bytearray) -> bytes:
    """State and flags of the first connections, state of the first TIME-WAIT (neat/stack/state.pxd)."""
    slots, (waits,) = 4096, struct.unpack_from("<Q", state, 80)
    return b"".join(state[at + 40 : at + 48] for at in (slots, slots + 320)) + state[waits + 40 : waits + 44]
