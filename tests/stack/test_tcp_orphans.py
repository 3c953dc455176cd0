"""Connections whose application is gone: they end, whatever the peer does."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import PEER_PORT, STACK_PORT, Conn
from .harness.frames import ACK, TCP, ethernet, ipv4, tcp
from .harness.host import SECOND

HOUR = 3600 * SECOND


def hold_window_closed(conn: Conn, duration: int, ack: int) -> None:
    """The peer answers whatever it gets, with a window of zero."""
    answer = ethernet(ipv4(tcp(PEER_PORT, STACK_PORT, conn.irs + 1, conn.iss + ack, ACK, 0), TCP))
    end = conn.host.now + duration
    while conn.host.now < end and conn.info is not None:
        conn.host.until(end, stop_when_sent=True)
        conn.host.take_sent()
        conn.host.arrive(answer)
    conn.host.take_sent()


@pytest.mark.parametrize("acked", [1461, 1], ids=["probes", "retransmissions"])
def test_a_closed_window_does_not_keep_an_orphan_for_ever(conn, acked):
    """As on Linux: RFC 9293 §3.8.6.1 is for connections that somebody still has."""
    conn.established(win=1460)
    conn.send(4000)
    conn.run("+0 > . 1:1461(1460) ack 1")
    conn.close()
    conn.run(f"+0 < . 1:1(0) ack {acked} win 0")
    hold_window_closed(conn, HOUR, acked)
    assert conn.state == TcpState.FREE


def test_an_orphan_that_makes_progress_lives(conn):
    conn.established(win=1460)
    conn.send(4000)
    conn.run("+0 > . 1:1461(1460) ack 1")
    conn.close()
    for done in range(1461, 1481):
        conn.run(f"""
          +0 < . 1:1(0) ack {done} win 0
          *  > . {done}:{done + 1}(1) ack 1
        """)
    assert conn.state == TcpState.FIN_WAIT_1


def test_a_delayed_ack_is_not_forgotten_at_the_end(conn):
    """close() in FIN-WAIT-2 while an ACK is delayed: the peer must not have to send its text again."""
    conn.established()
    conn.shutdown()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < . 1:1(0) ack 2
      +0 < P. 1:101(100) ack 2
    """)
    assert len(conn.recv()) == 100
    conn.close()
    conn.run("+0 > . 2:2(0) ack 101")
    assert conn.state == TcpState.FIN_WAIT_2


def fin_wait_2(conn: Conn) -> None:
    conn.established()
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 1\n+0 < . 1:1(0) ack 2")
    assert conn.state == TcpState.FIN_WAIT_2


@pytest.mark.parametrize("start", [70_000, 1_000_000_000])
def test_text_outside_the_window_does_not_end_fin_wait_2(conn, start):
    """Who knows no sequence number cannot cut off what the peer has still to say."""
    fin_wait_2(conn)
    conn.run(f"+0 < P. {start}:{start + 10}(10) ack 2\n+0 > . 2:2(0) ack 1")
    assert conn.state == TcpState.FIN_WAIT_2
    conn.run("+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


def test_text_in_the_window_ends_fin_wait_2(conn):
    fin_wait_2(conn)
    conn.run("+0 < P. 11:21(10) ack 2\n+0 > R 2:2(0)")
    assert conn.state == TcpState.FREE


@pytest.mark.parametrize(("rst", "left"), [("R 1:1(0)", TcpState.FREE), ("R 2:2(0)", TcpState.FIN_WAIT_2)])
def test_rst_in_fin_wait_2_must_be_exact(conn, rst, left):
    fin_wait_2(conn)
    conn.run(f"+0 < {rst}")
    assert conn.state == left
