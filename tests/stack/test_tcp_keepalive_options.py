"""Keepalive's options count whenever they are set, in whatever order (tcp(7))."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.host import OPT_KEEPALIVE


def test_idle_time_set_after_the_option(conn):
    """SO_KEEPALIVE first, TCP_KEEPIDLE then: the usual order."""
    conn.established()
    conn.set_options(OPT_KEEPALIVE)
    conn.lab.poke(conn.sock, "keep_idle_s", 10)
    conn.lab.dirty(conn.sock)
    conn.settle()
    conn.run("+10 > . 0:0(0) ack 1")


def test_idle_time_counts_from_the_last_segment(conn):
    conn.established()
    conn.set_options(OPT_KEEPALIVE)
    conn.quiet(20)
    conn.lab.poke(conn.sock, "keep_idle_s", 30)
    conn.lab.dirty(conn.sock)
    conn.settle()
    conn.run("+10 > . 0:0(0) ack 1")


def test_commands_between_probes_do_not_hurry_them(conn):
    conn.established()
    for name, value in (("keep_idle_s", 10), ("keep_intvl_s", 5), ("keep_cnt", 3)):
        conn.lab.poke(conn.sock, name, value)
    conn.set_options(OPT_KEEPALIVE)
    conn.run("+10 > . 0:0(0) ack 1")
    for _ in range(4):
        conn.host.run_for(1)
        conn.lab.dirty(conn.sock)
        conn.settle()
    conn.run("+1 > . 0:0(0) ack 1")


def test_switched_off_it_probes_no_more(conn):
    conn.established()
    for name, value in (("keep_idle_s", 10), ("keep_intvl_s", 5), ("keep_cnt", 3)):
        conn.lab.poke(conn.sock, name, value)
    conn.set_options(OPT_KEEPALIVE)
    conn.run("+10 > . 0:0(0) ack 1")
    conn.set_options(0)
    conn.quiet(1000)
    assert conn.state == TcpState.ESTABLISHED
    conn.set_options(OPT_KEEPALIVE)
    conn.run("+10 > . 0:0(0) ack 1\n+0 < . 1:1(0) ack 1\n+10 > . 0:0(0) ack 1")


@pytest.mark.parametrize(("patience", "probes"), [(5_000, 1), (12_000, 1), (40_000, 6)])
def test_user_timeout_decides_when_the_peer_is_gone(conn, patience, probes):
    """tcp(7): it "will override keepalive to determine when to close a connection"."""
    conn.established()
    settings = {"keep_idle_s": 10, "keep_intvl_s": 5, "keep_cnt": 3, "user_timeout_ms": patience}
    for name, value in settings.items():
        conn.lab.poke(conn.sock, name, value)
    conn.set_options(OPT_KEEPALIVE)
    conn.run("+10 > . 0:0(0) ack 1")
    for _ in range(probes - 1):
        conn.run("+5 > . 0:0(0) ack 1")
    conn.run("+5 > R. 1:1(0) ack 1")
    assert conn.state == TcpState.CLOSED
