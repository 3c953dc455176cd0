"""Keepalive (RFC 9293 §3.8.4): off by default, as the application sets it otherwise."""

import errno

import pytest

from neat.stack.tcp.state import TcpState

from .harness.host import EV_RESET, OPT_KEEPALIVE


@pytest.fixture
def kept(conn):
    conn.established()
    conn.lab.poke(conn.sock, "keep_idle_s", 10)
    conn.lab.poke(conn.sock, "keep_intvl_s", 5)
    conn.lab.poke(conn.sock, "keep_cnt", 3)
    conn.set_options(OPT_KEEPALIVE)
    conn.host.take_events()
    return conn


def test_off_by_default(conn):
    conn.established()
    conn.quiet(100_000)


def test_probes_and_answers(kept):
    kept.run("""
      +10 > . 0:0(0) ack 1
      +0  < . 1:1(0) ack 1
      +10 > . 0:0(0) ack 1
      +1  < . 1:1(0) ack 1
      +10 > . 0:0(0) ack 1
      +0  < . 1:1(0) ack 1
    """)
    assert kept.state == TcpState.ESTABLISHED


def test_traffic_postpones_the_probe(kept):
    kept.run("""
      +9   < P. 1:11(10) ack 1
      +.04 > . 1:1(0) ack 11
      +9.96 > . 0:0(0) ack 11
      +0   < . 11:11(0) ack 1
    """)


def test_no_answer_ends_the_connection(kept):
    kept.run("""
      +10 > . 0:0(0) ack 1
      +5  > . 0:0(0) ack 1
      +5  > . 0:0(0) ack 1
      +5  > R. 1:1(0) ack 1
    """)
    (event,) = kept.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, errno.ETIMEDOUT)


def test_peers_probe_is_answered(conn):
    conn.established()
    conn.run("""
      +0 < . 0:0(0) ack 1
      +0 > . 1:1(0) ack 1
    """)


def test_default_is_two_hours(conn):
    conn.established()
    conn.set_options(OPT_KEEPALIVE)
    conn.run("+7200 > . 0:0(0) ack 1")


def test_accepted_connection_inherits_the_option(conn):
    conn.listen()
    conn.lab.poke(7, "options", OPT_KEEPALIVE)
    conn.lab.poke(7, "keep_idle_s", 10)
    conn.run("""
      +0  < S 0:0(0) win 65535 <mss 1460>
      +0  > S. 0:0(0) ack 1
      +0  < . 1:1(0) ack 1 win 65535
      +10 > . 0:0(0) ack 1
    """)
