"""Timestamps as a peer may abuse them: TS.Recent, PAWS and its answers (RFC 7323 §4.3, §5)."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import pattern
from .harness.notation import parse

OPTIONS = "mss 1460,TS val 100 ecr 0"
DAY = 86400


def stamp(value: int) -> str:
    return f"<nop,nop,TS val {value} ecr last>"


@pytest.mark.parametrize(
    "line",
    [
        f"+0 < R 51:151(100) {stamp(2_000_000_000)}",
        f"+0 < S 51:151(100) win 1000 {stamp(2_000_000_000)}",
        f"+0 < . 51:151(100) ack 999999 win 1000 {stamp(2_000_000_000)}",
    ],
    ids=["rst", "syn", "bad-ack"],
)
def test_what_is_refused_does_not_change_ts_recent(conn, line):
    """RFC 7323 §5.2 of a RST; and whoever guesses a sequence number must not make PAWS reject the peer."""
    conn.established(options=OPTIONS)
    conn.run(f"""
      +0 < . 1:101(100) ack 1 {stamp(110)}
      +.04 > . 1:1(0) ack 101 <nop,nop,TS val * ecr 110>
      {line}
      +0 > . 1:1(0) ack 101 <nop,nop,TS val * ecr 110>
      +0 < . 101:201(100) ack 1 {stamp(120)}
      +.04 > . 1:1(0) ack 201 <nop,nop,TS val * ecr 120>
    """)
    assert conn.recv() == pattern(0, 200)


def test_ts_recent_is_replaced_after_24_days(conn):
    """RFC 7323 §5.5: a peer whose clock wrapped meanwhile is heard, and its new time is echoed."""
    conn.established(options=OPTIONS)
    conn.quiet(25 * DAY)
    conn.run(f"""
      +0 < . 1:101(100) ack 1 {stamp(50)}
      +.04 > . 1:1(0) ack 101 <nop,nop,TS val * ecr 50>
      +0 < . 101:201(100) ack 1 {stamp(40)}
      +0 > . 1:1(0) ack 101 <nop,nop,TS val * ecr 50>
    """)


def test_timestamp_wraps(conn):
    conn.established(options=OPTIONS)
    values = [2**31 - 1, 2**32 - 2, 3]
    for i, value in enumerate(values):
        conn.run(f"""
          +0 < . {1 + 10 * i}:{11 + 10 * i}(10) ack 1 {stamp(value)}
          +.04 > . 1:1(0) ack {11 + 10 * i} <nop,nop,TS val * ecr {value}>
        """)


def test_old_timestamps_do_not_feed_an_ack_war(conn):
    """Two ends whose TS.Recent an attacker moved would else answer each other's ACKs for ever."""
    conn.established(options=OPTIONS)
    conn.host.take_sent()
    for _ in range(30):
        conn.inject(parse(f"+0 < . 1:1(0) ack 1 {stamp(50)}")[0])
    assert len(conn.host.take_sent()) == 10
    assert conn.state == TcpState.ESTABLISHED


def test_out_of_window_syns_are_answered_but_not_all(conn):
    """RFC 5961 §4.2 "irrespective of the sequence number", §7."""
    conn.established()
    for _ in range(30):
        conn.inject(parse("+0 < S 500000:500000(0) win 1000")[0])
    assert len(conn.host.take_sent()) == 10


def test_probes_of_a_closed_window_carry_the_time(make_conn):
    """The ACK that answers a probe echoes it."""
    conn = make_conn(rx_size=4096)
    conn.established(options=OPTIONS)
    conn.run(f"""
      +0 < . 1:4097(4096) ack 1 {stamp(110)}
      +0 > . 1:1(0) ack 4097 win 0 <nop,nop,TS val * ecr 110>
      +.2 < . 4097:4098(1) ack 1 {stamp(310)}
      +0 > . 1:1(0) ack 4097 win 0 <nop,nop,TS val * ecr 310>
    """)
