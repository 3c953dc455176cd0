"""Loss recovery by what the peer selectively acknowledges (RFC 2018 §5, RFC 6675)."""

import random

import pytest

from .harness.conn import Conn, pattern
from .harness.notation import parse

MSS = 1460
SACK = "mss 1460,sackOK"


def seq(segment: int) -> int:
    """Where the segment of this number starts."""
    return 1 + segment * MSS


def sent(first: int, last: int, push: bool = False) -> str:
    """Lines for segments first to last - 1."""
    lines = [f"+0 > . {seq(n)}:{seq(n + 1)}({MSS}) ack 1" for n in range(first, last)]
    if push:
        lines[-1] = lines[-1].replace("> .", "> P.")
    return "\n".join(lines)


def heard(ack: int, *blocks: tuple[int, int]) -> str:
    told = " ".join(f"{seq(left)}:{seq(right)}" for left, right in blocks)
    return f"+0 < . 1:1(0) ack {seq(ack)} win 65535 " + (f"<nop,nop,sack {told}>" if told else "")


@pytest.fixture
def ten(conn):
    """Ten segments are under way."""
    conn.established(options=SACK)
    conn.send(10 * MSS)
    conn.run(sent(0, 10, push=True))
    return conn


def test_the_hole_alone_is_sent_again(ten):
    ten.run(f"""
      {heard(0, (1, 2))}
      {heard(0, (1, 3))}
      {heard(0, (1, 4))}
      {sent(0, 1)}
      {heard(4)}
    """)
    assert ten.counters["TCP_FAST_RETRANSMITS"] == 1
    assert ten.counters["TCP_RETRANSMITS"] == 1
    assert ten.info["ssthresh"] == 5 * MSS
    ten.run(heard(10))
    assert ten.info["cwnd"] <= 5 * MSS


def test_three_holes_are_sent_again_in_one_round_trip(ten):
    ten.run(f"""
      {heard(0, (1, 2))}
      {heard(0, (3, 4), (1, 2))}
      {heard(0, (5, 6), (3, 4), (1, 2))}
      {sent(0, 1)}
      {heard(0, (5, 7), (3, 4), (1, 2))}
      {heard(0, (5, 8), (3, 4), (1, 2))}
      {sent(2, 3)}
      {sent(4, 5)}
    """)
    ten.run(heard(10))
    assert ten.counters["TCP_RETRANSMITS"] == 3


def test_much_above_a_hole_is_as_good_as_three_duplicates(ten):
    """RFC 6675 §4, IsLost(): "more than (DupThresh - 1) * SMSS bytes", in one ACK."""
    ten.run(f"""
      {heard(0, (1, 4))}
      {sent(0, 1)}
    """)


def test_two_duplicates_are_not_enough(ten):
    ten.run(f"""
      {heard(0, (1, 2))}
      {heard(0, (1, 3))}
    """)
    assert ten.counters["TCP_LIMITED_TRANSMITS"] == 2
    ten.run(heard(10))


def test_blocks_that_say_nothing_new_are_no_duplicates(ten):
    ten.run(f"""
      {heard(0, (1, 2))}
      {heard(0, (1, 2))}
      {heard(0, (1, 2))}
      {heard(0, (1, 2))}
    """)
    assert not ten.counters.get("TCP_FAST_RETRANSMITS")


def test_new_text_fills_the_pipe(conn):
    """RFC 6675 §4, NextSeg(), rule 2."""
    conn.established(options=SACK)
    conn.send(20 * MSS)
    conn.run(f"""
      {sent(0, 10)}
      {heard(0, (1, 2))}
      {sent(10, 11)}
      {heard(0, (1, 3))}
      {sent(11, 12)}
      {heard(0, (1, 4))}
      {sent(0, 1)}
      {heard(0, (1, 8))}
      {heard(0, (1, 9))}
      {sent(12, 13)}
      {heard(12)}
      {sent(13, 14)}
    """)


def test_after_a_timeout_what_was_acknowledged_is_left_out(ten):
    ten.run(f"""
      {heard(0, (2, 3))}
      {heard(0, (5, 6), (2, 3))}
      +.2 > . 1:{seq(1)}({MSS}) ack 1
      {heard(1, (5, 6), (2, 3))}
      {sent(1, 2)}
      {sent(3, 4)}
      {heard(3, (5, 6))}
      {sent(4, 5)}
      {sent(6, 8)}
      {heard(6)}
      {sent(8, 10, push=True)}
    """)


def test_a_peer_that_goes_back_on_it(ten):
    """RFC 2018 §8: "the data receiver is permitted to discard data in its queue"; after two timeouts."""
    ten.run(f"""
      {heard(0, (1, 3))}
      +.2 > . 1:{seq(1)}({MSS}) ack 1
      +.4 > . 1:{seq(1)}({MSS}) ack 1
      {heard(1)}
      {sent(1, 3)}
    """)


def test_fin_in_the_hole(conn):
    conn.established(options=SACK)
    conn.send(4 * MSS)
    conn.close()
    conn.run(f"""
      {sent(0, 4, push=True)}
      +0 > F. {seq(4)}:{seq(4)}(0) ack 1
      {heard(0, (1, 3))}
      +.2 > . 1:{seq(1)}({MSS}) ack 1
      {heard(3)}
      +0 > FP. {seq(3)}:{seq(4)}({MSS}) ack 1
      +0 < . 1:1(0) ack {seq(4) + 1} win 65535
    """)


@pytest.mark.parametrize(
    "block",
    ["1:1461", "0:1461", "2921:1461", "14601:16061", "4294960000:2921", "1461:4294967295", "1461:1461"],
)
def test_blocks_that_cannot_be(ten, block):
    for _ in range(5):
        ten.run(f"+0 < . 1:1(0) ack 1 win 65535 <nop,nop,sack {block}>")
    assert not ten.host.sent
    ten.run(heard(10))


class Receiver:
    """The peer's end of a stream: keeps what comes, and says so."""

    def __init__(self, size: int) -> None:
        self.text = bytearray(size)
        self.got = [False] * (size + 1)
        self.reached = 0
        self.latest: list[tuple[int, int]] = []

    def take(self, start: int, text: bytes) -> str:
        """The ACK of this text, in the notation."""
        end = start + len(text)
        self.text[start:end] = text
        self.got[start:end] = [True] * len(text)
        while self.got[self.reached]:
            self.reached += 1
        if start > self.reached:
            while self.got[start - 1]:
                start -= 1
            while self.got[end]:
                end += 1
            self.latest.insert(0, (start, end))
        others = [block for block in self.latest[1:] if not self.latest[0][0] <= block[0] < self.latest[0][1]]
        self.latest = [block for block in self.latest[:1] + others if block[0] > self.reached][:4]
        told = " ".join(f"{1 + left}:{1 + right}" for left, right in self.latest)
        options = f"<nop,nop,sack {told}>" if told else ""
        return f"+0 < . 1:1(0) ack {1 + self.reached} win 65535 {options}"


@pytest.mark.parametrize("seed", range(16))
def test_all_arrives_over_a_wire_that_loses_both_ways(seed):
    chance = random.Random(seed)
    conn = Conn()
    conn.established(options=SACK)
    size = 60 * MSS
    peer = Receiver(size)
    while peer.reached < size:
        if len(conn.written) < size:
            conn.send(size - len(conn.written))
        conn.settle()
        segments = [sent.packet.segment for sent in conn.host.take_sent()]
        if not segments:
            assert conn.lab.deadline is not None, "it waits for nothing"
            conn.host.until(conn.lab.deadline, stop_when_sent=True)
            continue
        for segment in segments:
            if segment.payload and chance.random() > 0.15:
                ack = peer.take((segment.seq - conn.iss - 1) % 2**32, segment.payload)
                if chance.random() > 0.1:
                    conn.inject(parse(ack)[0])
    assert peer.text == pattern(0, size)
