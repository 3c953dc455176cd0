"""One TCP connection of an engine, talked to in packetdrill scripts with relative sequence numbers."""

import random
import struct
from functools import lru_cache
from typing import Any

from neat.stack.tcp.state import TcpState

from .frames import (
    ACK,
    FIN,
    ICMP,
    PEER_IP,
    PSH,
    RST,
    STACK_IP,
    SYN,
    TCP,
    Segment,
    ethernet,
    icmp,
    ipv4,
    read_segment_of,
    tcp,
)
from .host import EV_ACCEPT, REQ_ABORT, REQ_ACCEPTED, REQ_SHUT_RD, REQ_SHUT_WR, SECOND, Host, Sent
from .notation import Step, parse

LISTENER_SOCK = 7
STACK_PORT, PEER_PORT = 80, 40000
TOLERANCE = 5_000_000  # ns; timers may be a tick late
MASK = 0xFFFFFFFF

_NOISE = random.Random(1).randbytes(1 << 16)


def pattern(offset: int, length: int) -> bytes:
    """What stands at this stream offset in both directions of every test connection."""
    start = offset % len(_NOISE)
    return (_NOISE[start:] + _NOISE * (length // len(_NOISE) + 1))[:length]


@lru_cache
def _start_time(iss: int, local_port: int, peer_port: int) -> int:
    """When to start the clock so that the engine chooses about this ISN: RFC 6528 adds a clock."""

    def isn(now: int) -> int:
        host = Host(now=now)
        host.lab.listen(LISTENER_SOCK, local_port)
        host.arrive(ethernet(ipv4(tcp(peer_port, local_port, 1, 0, SYN), TCP)))
        return read_segment_of(host.take_sent()[0].frame).seq

    now = 1_000 * SECOND
    tick = 4 * SECOND / ((isn(now + 4 * SECOND) - isn(now)) & MASK)
    now += round(((iss - isn(now)) & MASK) * tick)
    missing = (iss - isn(now) + 2**31 & MASK) - 2**31
    return now + round(missing * tick)


class Conn:
    """The connection between STACK_PORT of the engine and a port of the peer that the script plays.

    `irs` is the peer's ISN. `iss`, the stack's, is read from its SYN; the argument says about
    where it should be. `host`: an engine that is there already; `port`: of the peer.
    """

    def __init__(
        self,
        irs: int = 1000,
        iss: int | None = None,
        host: Host | None = None,
        port: int = PEER_PORT,
        **settings,
    ):
        if iss is not None:
            settings.setdefault("now", _start_time(iss, STACK_PORT, PEER_PORT))
        self.host = host or Host(**settings)
        self.lab = self.host.lab
        self.port = port
        self.irs = irs
        self.iss = 0  # until its SYN is seen
        self.index: int | None = None  # of the engine's connection
        self.sock: int | None = None
        self.written = b""  # all that the application ever sent
        self.last_tsval = 0
        self.vnet: dict[str, int] = {}  # virtio-net header of what the peer sends
        self._clock = self.host.now  # time of the last step
        self._edge: int | None = None  # of what the engine has sent

    # The application --------------------------------------------------------------------------------

    def listen(self, backlog: int = 16) -> None:
        self.lab.listen(LISTENER_SOCK, STACK_PORT, backlog=backlog)

    def connect(self) -> None:
        """Start an active open; the SYN is the next packet."""
        self.index = self.lab.connect(PEER_IP, self.port, local_port=STACK_PORT)
        self.sock = self.lab.conn_info(self.index)["sock"]
        self.settle()

    def accept(self) -> None:
        """Take the connection that the listener reported."""
        event = next(e for e in self.host.events if e.kinds & EV_ACCEPT and self._is_mine(e.conn))
        assert event.listener_sock == LISTENER_SOCK
        self.host.events.remove(event)
        self.index, self.sock = event.conn, event.sock
        self.lab.request(self.sock, REQ_ACCEPTED)
        self.settle()

    def _is_mine(self, index: int) -> bool:
        info = self.lab.conn_info(index)
        return info is not None and info["remote"] == (PEER_IP, self.port)

    def established(self, *, win: int = 65535, options: str = "mss 1460", mss: int = 1460) -> None:
        """Passive open, accepted; both next sequence numbers are 1. A peer with timestamps begins at 100."""
        self.listen()
        stamp = ", TS val 100 ecr last" if "TS" in options else ""
        last_options = f"<nop,nop{stamp}>" if stamp else ""
        self.run(f"""
            +0 < S 0:0(0) win {win} <{options}>
            +0 > S. 0:0(0) ack 1 <mss {mss},...>
            +0 < . 1:1(0) ack 1 win {win} {last_options}
        """)
        self.accept()
        assert self.state == TcpState.ESTABLISHED

    def connected(self, *, win: int = 65535, options: str = "mss 1460", mss: int = 1460) -> None:
        """Active open, done; both next sequence numbers are 1."""
        self.connect()
        self.run(f"""
            +0 > S 0:0(0) <mss {mss},...>
            +0 < S. 0:0(0) ack 1 win {win} <{options}>
            +0 > . 1:1(0) ack 1
        """)
        assert self.state == TcpState.ESTABLISHED

    def send(self, data: int | bytes) -> int:
        """The application writes that many bytes of the pattern, or these; returns how many found room."""
        if isinstance(data, int):
            data = pattern(len(self.written), data)
        n = self.lab.send(self.sock, data)
        self.written += data[:n]
        self.settle()
        return n

    def recv(self, limit: int = 1 << 30) -> bytes:
        data = self.lab.recv(self.sock, limit)
        self.settle()
        return data

    def shutdown(self) -> None:
        """shutdown(SHUT_WR)"""
        self.lab.request(self.sock, REQ_SHUT_WR)
        self.settle()

    def shutdown_read(self) -> None:
        self.lab.request(self.sock, REQ_SHUT_RD)
        self.settle()

    def close(self, abort: bool = False) -> None:
        """The last descriptor is closed; `abort`: with SO_LINGER zero."""
        if abort:
            self.lab.request(self.sock, REQ_ABORT)
        self.lab.close(self.index)
        self.settle()

    def set_options(self, bits: int) -> None:
        self.lab.poke(self.sock, "options", bits)
        self.settle()

    @property
    def info(self) -> Any:
        """ConnInfo as a dict; None when the connection holds no slot."""
        return self.lab.conn_info(self.index)

    @property
    def state(self) -> TcpState:
        """RFC 9293 §3.3.2; FREE when the connection is gone."""
        for state, _, remote in self.lab.waiting():
            if remote == (PEER_IP, self.port):
                return TcpState(state)
        info = self.lab.conn_info(self.index)
        return TcpState.FREE if info is None else TcpState(info["state"])

    @property
    def counters(self) -> dict[str, int]:
        return self.lab.counters()

    @property
    def event_kinds(self) -> int:
        """The kinds of all events since this was asked last, merged."""
        kinds = 0
        for event in self.host.take_events():
            kinds |= event.kinds
        return kinds

    # The script -------------------------------------------------------------------------------------

    crashes = False  # after each packet from the peer, and nobody is to notice

    def crash(self) -> None:
        """The engine dies, a fresh one goes on with its segments; what it sends is to be expected."""
        self._expect_silence("the crash")
        self.lab.crash()
        self.settle()

    def _survive(self) -> None:
        """A crash that the script does not know of: what was sent before, and ACKs, leave again."""
        before = list(self.host.sent)
        for sent in before:
            self._note_edge(sent)
        self.host.sent.clear()
        self.lab.crash()
        self.settle()
        news = [sent for sent in self.host.sent if self._is_news(sent)]
        self.host.sent.clear()
        self.host.sent.extend(before + news)

    def _note_edge(self, sent: Sent) -> None:
        segment = sent.packet.segment if sent.packet else None
        if segment is not None and not segment.flags & RST:
            end = segment.seq + len(segment.payload) + bool(segment.flags & (SYN | FIN)) & MASK
            if self._edge is None or 0 < (end - self._edge & MASK) < 1 << 31:
                self._edge = end

    def _is_news(self, sent: Sent) -> bool:
        segment = sent.packet.segment if sent.packet else None
        if segment is None or segment.flags & RST or self._edge is None:
            return True
        end = segment.seq + len(segment.payload) + bool(segment.flags & (SYN | FIN)) & MASK
        return 0 < (end - self._edge & MASK) < 1 << 31

    def settle(self) -> None:
        """Let the engine do what is due now; its packets wait for the next script."""
        self.host.turn()

    def run(self, script: str) -> None:
        """Play the peer and check what the stack sends. Nothing may be left over at the end."""
        self._clock = self.host.now
        for step in parse(script):
            if step.crash:
                self.crash()
            elif step.inbound:
                self._to(step.earliest, step.text)
                self.inject(step)
                if self.crashes:
                    self._survive()
            else:
                self._expect(step)
            self._clock = self.host.now
        self.host.turn()
        self._expect_silence("the end of the script")

    def quiet(self, seconds: float) -> None:
        """Nothing is sent for so long."""
        self._to(round(seconds * SECOND), f"{seconds} s of silence")
        self._expect_silence(f"{seconds} s of silence")

    def inject(self, step: Step) -> None:
        """A packet from the peer arrives."""
        body = self._icmp(step, *step.icmp) if step.icmp else self._segment(step)
        self.host.arrive(ethernet(ipv4(body, ICMP if step.icmp else TCP)), **self.vnet)

    def _segment(self, step: Step) -> bytes:
        ack = 0 if step.ack is None else self._our(step.ack)
        payload = pattern(step.start - 1, step.length) if step.length else b""
        return tcp(
            self.port,
            STACK_PORT,
            self.irs + step.start,
            ack,
            step.flags,
            65535 if step.window is None else step.window,
            self._encode(step.options or ()),
            payload,
            urgent=step.urgent or 0,
        )

    def _icmp(self, step: Step, kind: int, code: int, mtu: int) -> bytes:
        """An ICMP error that quotes the header and 8 bytes of a segment that we sent (RFC 792)."""
        quoted = tcp(
            STACK_PORT, self.port, self._our(step.start), 0, ACK, source=STACK_IP, destination=PEER_IP
        )
        total = 40 + step.length
        packet = ipv4(quoted, TCP, STACK_IP, PEER_IP, total_length=total)
        return icmp(kind, code, mtu, packet[:28])

    def _our(self, relative: int) -> int:
        """An absolute number of the stack's sequence space."""
        return self.iss + relative & MASK

    def _encode(self, options: tuple) -> bytes:
        out = b""
        for option in options:
            match option:
                case ("nop",):
                    out += b"\1"
                case ("eol",):
                    out += b"\0"
                case ("mss", value):
                    out += struct.pack("!BBH", 2, 4, value)
                case ("wscale", value):
                    out += struct.pack("!BBB", 3, 3, value)
                case ("sackOK",):
                    out += b"\4\2"
                case ("TS", value, echo):
                    echo = self.last_tsval if echo == "last" else echo or 0
                    out += struct.pack("!BBII", 8, 10, value or 0, echo)
                case ("sack", *blocks):
                    edges = [self._our(edge) for block in blocks for edge in block]
                    out += struct.pack(f"!BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges)
                case ("option", kind, body):
                    out += struct.pack("!BB", kind, 2 + len(body)) + body
        return out

    def _to(self, delay: int, text: str) -> None:
        """Move to `delay` after the last step; nothing may be sent on the way."""
        self._expect_silence(text)
        if delay:
            self.host.until(self._clock + delay, stop_when_sent=True)
            self._expect_silence(text)

    def _expect_silence(self, before: str) -> None:
        if self.host.sent:
            found = "\n".join("    " + self.show(sent) for sent in self.host.sent)
            raise AssertionError(f"before {before!r} the stack sent\n{found}")

    def _expect(self, step: Step) -> None:
        if not self.host.sent and step.latest != 0:
            self.host.until(self._clock + step.latest + TOLERANCE, stop_when_sent=True)
        if not self.host.sent:
            raise AssertionError(f"expected {step.text!r}, the stack sent nothing")
        sent = self.host.sent.popleft()
        self._note_edge(sent)
        problems = self._differences(step, sent)
        if problems:
            raise AssertionError(
                f"expected {step.text!r}\n     got {self.show(sent)}\n         ({', '.join(problems)})"
            )

    def _differences(self, step: Step, sent: Sent) -> list[str]:
        segment = sent.packet.segment if sent.packet else None
        if segment is None or (segment.dport, segment.sport) != (self.port, STACK_PORT):
            return ["not a segment of this connection"]
        problems = []
        if segment.flags & SYN:
            self.iss = segment.seq
        self._learn(segment)
        late = sent.time - self._clock
        if not step.earliest - TOLERANCE <= late <= step.latest + TOLERANCE:
            problems.append(f"time +{late / SECOND:.6f}")
        care = ~0 if step.flags & PSH else ~PSH
        if segment.flags & care != step.flags & care:
            problems.append("flags")
        if segment.seq != self._our(step.start):
            problems.append("sequence number")
        if len(segment.payload) != step.length:
            problems.append("length")
        elif segment.payload != self.written[step.start - 1 :][: step.length]:
            problems.append("payload")
        if step.ack is not None and segment.ack != self.irs + step.ack & MASK:
            problems.append("ack")
        if step.window is not None and segment.window != step.window:
            problems.append("window")
        if step.urgent is not None and segment.urgent != step.urgent:
            problems.append("urgent")
        if step.options is not None and not self._options_match(step.options, segment.options):
            problems.append("options")
        return problems

    def _learn(self, segment: Segment) -> None:
        for option in segment.options:
            if option[0] == "TS":
                self.last_tsval = option[1]

    def _options_match(self, wanted: tuple, found: list[tuple]) -> bool:
        others = ("...",) in wanted
        wanted = tuple(o for o in wanted if o[0] not in ("nop", "eol", "..."))
        found = [self._relative(o) for o in found if o[0] not in ("nop", "eol")]
        if others:
            return all(any(_same(w, f) for f in found) for w in wanted)
        return len(wanted) == len(found) and all(_same(w, f) for w, f in zip(wanted, found, strict=True))

    def _relative(self, option: tuple) -> tuple:
        if option[0] != "sack":
            return option
        return "sack", *(tuple(edge - self.irs & MASK for edge in block) for block in option[1:])

    def show(self, sent: Sent) -> str:
        """What was sent, in the notation."""
        when = f"+{(sent.time - self._clock) / SECOND:.6f}"
        packet = sent.packet
        if packet is None:
            return f"{when} > frame {sent.frame.hex()}"
        s = packet.segment
        if s is None:
            return f"{when} > protocol {packet.protocol} {packet.payload.hex()}"
        flags = "".join(letter for bit, letter in enumerate("FSRP.UEW") if s.flags >> bit & 1) or "-"
        start = s.seq - self.iss & MASK
        ack = f" ack {s.ack - self.irs & MASK}" if s.flags & ACK else ""
        options = ",".join(" ".join(map(str, self._relative(o))) for o in s.options)
        size = len(s.payload)
        return f"{when} > {flags} {start}:{start + size}({size}){ack} win {s.window} <{options}>"


def _same(wanted: tuple, found: tuple) -> bool:
    return len(wanted) == len(found) and all(w is None or w == f for w, f in zip(wanted, found, strict=True))


def serves(host: Host, port: int = 50_123) -> None:
    """A new connection is accepted, and its data arrives."""
    host.take_sent()
    host.take_events()
    peer = Conn(77, host=host, port=port)
    peer.run("""
        +0 < S 0:0(0) win 65535 <mss 1460>
        +0 > S. 0:0(0) ack 1 <...>
        +0 < . 1:1(0) ack 1 win 65535
    """)
    peer.accept()
    peer.run("""
        +0 < P. 1:5(4) ack 1 win 65535
        +0~+.5 > . 1:1(0) ack 5
    """)
    assert len(peer.recv()) == 4
