"""packetdrill's notation for packets, as text: what scripts in tests are written in.

    +0   < S 0:0(0) win 65535 <mss 1460,nop,wscale 7>
    +0   > S. 0:0(0) ack 1 <mss 1460,...>
    +.04 > . 1:1(0) ack 101
    +.2~+.3 > P. 1:101(100) ack 101
    *    > R 1:1(0)
    crash
    +0   < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]

`<` comes from the peer, `>` is expected from the stack; at `crash` the engine dies, and a fresh one goes on
with its segments. The time is seconds since the line before; `*` is
whenever it comes. Sequence numbers are relative: to the peer's ISN in its packets, to the stack's in its
own; an ACK to the other's. Flags are letters of `SFRPUEW`, `.` is ACK, `-` is none. Window and options are
as in the header: not scaled.

In an expectation, what is not mentioned does not matter: window, options, urgent pointer and PSH. Options
that are written must be all there are, in this order, NOPs aside; with `...` others may come too. `TS val
*` and `TS ecr *` match anything; from the peer, `ecr last` is the stack's latest TSval.
"""

import re
from dataclasses import dataclass

from .frames import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

FLAGS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR, "-": 0}
SECOND = 1_000_000_000
ANY = None
FOREVER = 3600 * SECOND  # as long as `*` waits

_LINE = re.compile(r"(?P<time>\*|[+~.\d]+)\s*(?P<way>[<>])\s*(?P<rest>.*)")
_TCP = re.compile(
    r"(?P<flags>[SFRPUEW.]+|-)\s+(?P<start>\d+):(?P<end>\d+)\((?P<length>\d+)\)"
    r"(?:\s+ack\s+(?P<ack>\d+))?(?:\s+win\s+(?P<win>\d+))?(?:\s+urg\s+(?P<urg>\d+))?"
    r"(?:\s*<(?P<options>[^>]*)>)?"
)
_ICMP = re.compile(
    r"icmp\s+(?P<type>unreachable|time_exceeded|source_quench)(?:\s+(?P<code>\w+))?(?:\s+mtu\s+(?P<mtu>\d+))?"
    r"\s*\[(?P<start>\d+):(?P<end>\d+)\((?P<length>\d+)\)\]"
)
ICMP_TYPES = {"unreachable": 3, "source_quench": 4, "time_exceeded": 11}
ICMP_CODES = {None: 0, "net": 0, "host": 1, "protocol": 2, "port": 3, "frag_needed": 4, "admin": 13, "ttl": 0}


class ScriptError(Exception):
    """The script is not written right (the test is at fault, not the stack)."""


@dataclass(frozen=True)
class Step:
    """One line. `earliest` and `latest` are ns after the step before."""

    text: str
    inbound: bool
    earliest: int
    latest: int
    flags: int = 0
    start: int = 0
    length: int = 0
    ack: int | None = ANY
    window: int | None = ANY
    urgent: int | None = ANY
    options: tuple | None = ANY  # of tuples; may hold ("...",)
    icmp: tuple[int, int, int] | None = None  # type, code, next-hop MTU
    crash: bool = False


def parse(script: str) -> list[Step]:
    """The steps of a script; ScriptError names the line that is wrong."""
    lines = (re.sub(r"(//|#).*", "", line).strip() for line in script.splitlines())
    return [_step(line) for line in lines if line]


def _step(line: str) -> Step:
    if line == "crash":
        return Step(line, False, 0, 0, crash=True)
    match = _LINE.fullmatch(line)
    if not match:
        raise ScriptError(f"no time and direction: {line}")
    earliest, latest = _time(match["time"], line)
    inbound, rest = match["way"] == "<", match["rest"]
    if inbound and latest != earliest:
        raise ScriptError(f"a packet from the peer needs one time: {line}")
    if rest.startswith("icmp"):
        return _icmp_step(line, inbound, earliest, latest, rest)
    packet = _TCP.fullmatch(rest)
    if not packet:
        raise ScriptError(f"no such packet: {line}")
    length = int(packet["length"])
    if int(packet["end"]) - int(packet["start"]) != length:
        raise ScriptError(f"the length does not fit the sequence numbers: {line}")
    flags = 0
    for letter in packet["flags"]:
        flags |= FLAGS[letter]
    if bool(flags & ACK) != (packet["ack"] is not None):
        raise ScriptError(f"flag . and ack belong together: {line}")
    return Step(
        line,
        inbound,
        earliest,
        latest,
        flags,
        int(packet["start"]),
        length,
        _number(packet["ack"]),
        _number(packet["win"]),
        _number(packet["urg"]),
        _options(packet["options"], line),
    )


def _icmp_step(line: str, inbound: bool, earliest: int, latest: int, rest: str) -> Step:
    match = _ICMP.fullmatch(rest)
    if not match or not inbound or match["code"] not in ICMP_CODES:
        raise ScriptError(f"no such ICMP message from the peer: {line}")
    kind = (ICMP_TYPES[match["type"]], ICMP_CODES[match["code"]], int(match["mtu"] or 0))
    return Step(
        line, True, earliest, latest, start=int(match["start"]), length=int(match["length"]), icmp=kind
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _time(text: str, line: str) -> tuple[int, int]:
    if text == "*":
        return 0, FOREVER
    try:
        first, _, last = text.partition("~")
        if not first.startswith("+") or (last and not last.startswith("+")):
            raise ValueError
        earliest = round(float(first[1:]) * SECOND)
        return earliest, round(float(last[1:]) * SECOND) if last else earliest
    except ValueError:
        raise ScriptError(f"times are +seconds, +from~+to or *: {line}") from None


def _options(text: str | None, line: str) -> tuple | None:
    if text is None:
        return None
    return tuple(_option(part.split(), line) for part in text.split(",") if part.strip())


def _option(words: list[str], line: str) -> tuple:
    match words:
        case [("nop" | "eol" | "sackOK" | "...") as name]:
            return (name,)
        case [("mss" | "wscale") as name, value]:
            return name, int(value)
        case ["TS", "val", value, "ecr", echo]:
            return "TS", _stamp(value), _stamp(echo)
        case ["TS", "val", value]:
            return "TS", _stamp(value), ANY
        case ["TS", "ecr", echo]:
            return "TS", ANY, _stamp(echo)
        case ["sack", *blocks]:
            return "sack", *(tuple(int(edge) for edge in block.split(":")) for block in blocks)
        case ["option", kind, body]:
            return "option", int(kind), bytes.fromhex(body)
    raise ScriptError(f"no such option: {' '.join(words)!r} in {line}")


def _stamp(word: str) -> int | str | None:
    return ANY if word == "*" else word if word == "last" else int(word)
