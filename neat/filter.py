"""The packet filter's language: rules as text, in the words of nftables (nft(8)).

    input ct state established,related accept
    input tcp dport { 22, 80, 8000-8080 } ip saddr 10.0.0.0/8 accept
    input icmp type echo-request limit rate 10/second burst 5 packets accept
    input log prefix "refused: " reject
    output ip daddr != 10.77.0.0/24 drop
    input policy drop

A line is a chain (`input`: what comes to the stack, `output`: what it sends), and a rule or the chain's
policy. A rule is matches, all of which must hold, then what is done: the first rule with a verdict decides,
and where there is none the policy (`accept` unless said otherwise). A rule without a verdict counts, and logs
if it says so. `#` begins a comment. What the words mean to a packet: docs/contracts/filter.md.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

CHAINS = ("input", "output")
STATES = ("new", "established", "related", "invalid")
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
INTERFACES = ("lo", "tap")
ICMP_TYPES = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "redirect": 5,
    "echo-request": 8,
    "time-exceeded": 11,
    "parameter-problem": 12,
}
# reject with icmp: codes of "destination unreachable"
REJECTS = {
    "net-unreachable": 0,
    "host-unreachable": 1,
    "prot-unreachable": 2,
    "port-unreachable": 3,
    "net-prohibited": 9,
    "host-prohibited": 10,
    "admin-prohibited": 13,
}
TCP_RESET = "tcp reset"
VERDICTS = ("accept", "drop", "reject")
UNITS_NS = {"second": 10**9, "minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86400 * 10**9}
MAX_RULES, MAX_RANGES = 512, 4096  # as in neat/shm/filter.pxd
MAX_PREFIX, MAX_COMMENT = 64, 128  # characters
DEFAULT_BURST = 5  # packets, as in nft
MAX_BURST_NS = 2**62  # times are compared as signed 64-bit differences
_TOKEN = re.compile(r'"[^"]*"|[{},]|!=|[^\s{},"!]+|!')

Range = tuple[int, int]  # both ends belong to it


class FilterError(ValueError):
    """Not a rule; the text says what is wrong with it."""


@dataclass(frozen=True)
class Match:
    """Numbers, or with `negated` all others. None given: any."""

    ranges: tuple[Range, ...] = ()
    negated: bool = False


ANY = Match()


@dataclass(frozen=True)
class Limit:
    interval_ns: int  # between two packets
    burst: int
    over: bool = False  # match what is over it


@dataclass
class Rule:
    """One rule, without its chain. `text`: in one spelling, whatever was written."""

    verdict: str = ""
    protocol: Match = ANY
    source: Match = ANY
    destination: Match = ANY
    source_port: Match = ANY
    destination_port: Match = ANY
    icmp_type: Match = ANY
    states: frozenset[str] = frozenset()
    interface: str = ""
    limit: Limit | None = None
    log: str | None = None
    reject: str = "port-unreachable"
    text: str = ""
    matches: list[str] = field(default_factory=list)  # what has been said already, for who says it twice


class _Words:
    def __init__(self, text: str) -> None:
        self.text = text
        self.words = _TOKEN.findall(text)
        if re.sub(r"\s", "", "".join(self.words)) != re.sub(r"\s", "", text):
            raise FilterError(f"{text!r}: a quotation mark is missing")
        self.at = 0

    def wrong(self, what: str) -> FilterError:
        return FilterError(f"{self.text!r}: {what}")

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, *allowed: str, what: str = "") -> str:
        word = self.peek()
        if not word or (allowed and word not in allowed):
            right = what or " or ".join(allowed) or "more"
            raise self.wrong(f"{word!r}: {right} is expected" if word else f"{right} is missing at its end")
        self.at += 1
        return word

    def taken(self, word: str) -> bool:
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def elements(self, what: str) -> list[str]:
        """One, or a set in braces."""
        if not self.taken("{"):
            return [self.take(what=what)]
        found = [self.take(what=what)]
        while self.taken(","):
            if self.peek() == "}":
                break  # a comma at the end, as nft takes it
            found.append(self.take(what=what))
        self.take("}")
        return found


def parse(text: str) -> Rule:
    """A rule. FilterError says what is wrong."""
    words, rule = _Words(text), Rule()
    said: list[str] = []
    while words.peek() and (not rule.verdict or words.peek() == "comment"):  # nft has it at the end
        start = words.at
        _statement(words, rule)
        said.append(_spelt(words.words[start : words.at]))
    if words.peek():
        raise words.wrong(f"{words.peek()!r} comes after the verdict")
    if not said:
        raise words.wrong("is empty: a rule is matches and a verdict, like `tcp dport 80 accept`")
    if rule.verdict == "reject" and rule.reject == TCP_RESET and not _only_tcp(rule):
        raise words.wrong("`reject with tcp reset` needs a match of TCP (tcp dport, ip protocol tcp)")
    rule.text = " ".join(said)
    return rule


def _only_tcp(rule: Rule) -> bool:
    tcp = PROTOCOLS["tcp"]
    return rule.protocol == Match(((tcp, tcp),))


def _spelt(words: Sequence[str]) -> str:
    """A comma stands with the word before it; what is in quotation marks stays as it is."""
    after = "" if words[0] == "ct" else " "
    text = words[0]
    for before, word in pairwise(words):
        text += ("" if word == "," else after if before == "," else " ") + word
    return text


def _statement(words: _Words, rule: Rule) -> None:
    word = words.take()
    if word in VERDICTS:
        _verdict(words, rule, word)
        return
    parts = {
        "ip": _ip, "meta": _meta, "tcp": _ports, "udp": _ports, "icmp": _icmp, "ct": _ct, "iif": _interface,
        "iifname": _interface, "oif": _interface, "oifname": _interface, "limit": _limit, "log": _log,
    }  # fmt: skip
    if word == "counter":
        return  # every rule counts
    if word == "comment":
        _text(words, "comment", MAX_COMMENT)
        return
    if word not in parts:
        raise words.wrong(f"{word!r} is not known; there are {', '.join([*parts, 'counter', *VERDICTS])}")
    parts[word](words, rule, word)


def _once(words: _Words, rule: Rule, name: str) -> None:
    if name in rule.matches:
        raise words.wrong(f"{name} is matched twice")
    rule.matches.append(name)


def _match(words: _Words, rule: Rule, name: str, what: str, read: "type[_Number] | type[_Address]") -> Match:
    _once(words, rule, name)
    negated = words.taken("!=")
    ranges = tuple(read(words, what).range(element) for element in words.elements(what))
    return Match(ranges, negated)


def _is_number(text: str) -> bool:
    """Python itself refuses to read numbers of thousands of digits."""
    return text.isascii() and text.isdecimal() and len(text) <= 20


class _Number:
    """A number, a range A-B, or a name."""

    LAST = 0xFFFF
    NAMES: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, words: _Words, what: str) -> None:
        self.words, self.what = words, what

    def range(self, text: str) -> Range:
        low, dash, high = text.partition("-") if text not in self.NAMES else (text, "", "")
        ends = self.number(low), self.number(high if dash else low)
        if ends[0] > ends[1]:
            raise self.words.wrong(f"{text!r}: the range ends before it begins")
        return ends

    def number(self, text: str) -> int:
        if text in self.NAMES:
            return self.NAMES[text]
        if not _is_number(text) or int(text) > self.LAST:
            names = f", or {', '.join(self.NAMES)}" if self.NAMES else ""
            raise self.words.wrong(f"{text!r} is no {self.what}: 0 to {self.LAST}{names}")
        return int(text)


class _Protocol(_Number):
    LAST, NAMES = 0xFF, PROTOCOLS


class _IcmpType(_Number):
    LAST, NAMES = 0xFF, ICMP_TYPES


class _Address(_Number):
    def range(self, text: str) -> Range:
        low, dash, high = text.partition("-")
        try:
            if dash:
                first, last = int(ipaddress.IPv4Address(low)), int(ipaddress.IPv4Address(high))
            else:
                network = ipaddress.IPv4Network(text)
                first, last = int(network.network_address), int(network.broadcast_address)
        except ValueError as error:
            raise self.words.wrong(f"{text!r} is no IPv4 address or network ({error})") from None
        if first > last:
            raise self.words.wrong(f"{text!r}: the range ends before it begins")
        return first, last


def _protocol(words: _Words, rule: Rule) -> None:
    """With a match of ports or types before it, both must hold."""
    implied, found = rule.protocol, _match(words, rule, "the protocol", "protocol", _Protocol)
    if implied != ANY and not _allows(found, implied.ranges[0][0]):
        raise words.wrong("the protocol contradicts what is matched before")
    rule.protocol = found if implied == ANY else implied


def _allows(match: Match, number: int) -> bool:
    if match == ANY:
        return True
    return any(low <= number <= high for low, high in match.ranges) != match.negated


def _ip(words: _Words, rule: Rule, _word: str) -> None:
    which = words.take("saddr", "daddr", "protocol")
    if which == "protocol":
        _protocol(words, rule)
    elif which == "saddr":
        rule.source = _match(words, rule, "ip saddr", "address", _Address)
    else:
        rule.destination = _match(words, rule, "ip daddr", "address", _Address)


def _meta(words: _Words, rule: Rule, _word: str) -> None:
    words.take("l4proto")
    _protocol(words, rule)


def _implied(words: _Words, rule: Rule, protocol: str) -> None:
    """A match of ports or types is one of the protocol, too."""
    number = PROTOCOLS[protocol]
    if not _allows(rule.protocol, number):
        raise words.wrong(f"{protocol} contradicts the protocol that is matched before")
    rule.protocol = Match(((number, number),))


def _ports(words: _Words, rule: Rule, protocol: str) -> None:
    _implied(words, rule, protocol)
    which = words.take("sport", "dport")
    found = _match(words, rule, f"the {which}", "port", _Number)
    if which == "sport":
        rule.source_port = found
    else:
        rule.destination_port = found


def _icmp(words: _Words, rule: Rule, _word: str) -> None:
    _implied(words, rule, "icmp")
    words.take("type")
    rule.icmp_type = _match(words, rule, "icmp type", "ICMP type", _IcmpType)


def _ct(words: _Words, rule: Rule, _word: str) -> None:
    words.take("state")
    _once(words, rule, "ct state")
    found: list[str] = []
    if words.peek() == "{":
        found = words.elements("a state")
    else:
        found.append(words.take())
        while words.taken(","):
            found.append(words.take(what="a state"))
    for state in found:
        if state not in STATES:
            raise words.wrong(f"{state!r} is no connection state: {', '.join(STATES)}")
    rule.states = frozenset(found)


def _interface(words: _Words, rule: Rule, word: str) -> None:
    _once(words, rule, "the interface")
    rule.interface = words.take().strip('"')
    if rule.interface not in INTERFACES:
        raise words.wrong(f"{word} {rule.interface!r}: there are {' and '.join(INTERFACES)}")


def _limit(words: _Words, rule: Rule, _word: str) -> None:
    _once(words, rule, "the rate")
    words.take("rate")
    over = words.taken("over")
    rate = words.take(what="a rate like 10/second")
    number, _, unit = rate.partition("/")
    if not _is_number(number) or unit not in UNITS_NS:
        raise words.wrong(
            f"{rate!r} is no rate: must be like 10/second, or /{', /'.join(list(UNITS_NS)[1:])}"
        )
    if not 1 <= int(number) <= UNITS_NS[unit]:
        raise words.wrong(f"{rate!r} is no rate that can be kept")
    burst = DEFAULT_BURST
    if words.taken("burst"):
        text = words.take(what="a number of packets")
        words.taken("packets")
        if not _is_number(text) or not 1 <= int(text) <= 1_000_000:
            raise words.wrong(f"burst {text}: must be 1 to 1000000 packets")
        burst = int(text)
    interval = UNITS_NS[unit] // int(number)
    if interval * burst > MAX_BURST_NS:
        raise words.wrong(f"burst {burst} at {rate} is more than can be kept")
    rule.limit = Limit(interval, burst, over)


def _log(words: _Words, rule: Rule, _word: str) -> None:
    _once(words, rule, "log")
    rule.log = ""
    if words.taken("prefix"):
        rule.log = _text(words, "prefix", MAX_PREFIX)


def _text(words: _Words, what: str, most: int) -> str:
    """It goes to terminals and logs: a line of characters that can be printed."""
    text = words.take(what="a text").strip('"')
    if len(text) > most or not text.isprintable():
        raise words.wrong(f"a {what} has up to {most} characters that can be printed")
    return text


def _verdict(words: _Words, rule: Rule, word: str) -> None:
    rule.verdict = word
    if word != "reject" or not words.taken("with"):
        return
    if words.take("tcp", "icmp") == "tcp":
        words.take("reset")
        rule.reject = TCP_RESET
        return
    words.taken("type")
    rule.reject = words.take(*REJECTS)


@dataclass(frozen=True)
class Line:
    """One line of a set of rules: a rule of a chain, or its policy."""

    chain: str
    rule: Rule | None = None
    policy: str = ""


def parse_line(text: str) -> Line:
    chain, rest = [*text.split(maxsplit=1), "", ""][:2]
    if chain not in CHAINS:
        raise FilterError(f"{text.strip()!r}: must begin with {' or '.join(CHAINS)}")
    words = rest.split()
    if words[:1] == ["policy"]:
        if len(words) != 2 or words[1] not in ("accept", "drop"):
            raise FilterError(f"{text.strip()!r}: a policy is accept or drop")
        return Line(chain, policy=words[1])
    return Line(chain, parse(rest))


def parse_lines(lines: Iterable[str]) -> list[Line]:
    """All lines of a set; FilterError for the first that is wrong, or when it does not fit."""
    found = [parse_line(line) for line in map(_uncommented, lines) if line]
    check_size([line.rule for line in found if line.rule is not None])
    return found


def _uncommented(line: str) -> str:
    """Without its comment: a `#` outside of quotation marks."""
    quoted = False
    for at, character in enumerate(line):
        quoted ^= character == '"'
        if character == "#" and not quoted:
            return line[:at].strip()
    return line.strip()


def matches_of(rule: Rule) -> list[Match]:
    """Of numbers, in the order in which they are looked at (FilterRule)."""
    ports = [rule.source_port, rule.destination_port]
    return [rule.protocol, rule.source, rule.destination, *ports, rule.icmp_type]


def check_size(rules: Sequence[Rule]) -> None:
    if len(rules) > MAX_RULES:
        raise FilterError(f"{len(rules)} rules: there can be {MAX_RULES}")
    ranges = sum(len(match.ranges) for rule in rules for match in matches_of(rule))
    if ranges > MAX_RANGES:
        raise FilterError(
            f"the rules name {ranges} addresses, ports and protocols: there can be {MAX_RANGES}"
        )
