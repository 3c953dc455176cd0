"""TCP_USER_TIMEOUT: how long text may stay unacknowledged or unsent (RFC 9293 §3.8.3, RFC 5482; tcp(7)).

As on Linux it counts from the first retransmission or probe, and the last wait is cut short, so that it ends
in time (tcp_clamp_rto_to_user_timeout, tcp_clamp_probe0_to_user_timeout).
"""

import errno

import pytest

from neat.stack.tcp.state import TcpState

from .harness.host import EV_RESET


def patience(conn, ms: int) -> None:
    conn.lab.poke(conn.sock, "user_timeout_ms", ms)
    conn.settle()


def assert_timed_out(conn) -> None:
    event = conn.host.take_events()[-1]
    assert (event.kinds & EV_RESET, event.error) == (EV_RESET, errno.ETIMEDOUT)
    assert conn.counters["TCP_USER_TIMEOUT"] == 1


@pytest.mark.parametrize(
    ("ms", "script"),
    [
        (1000, "+.4 > P. 1:101(100) ack 1\n+.6 > R. 101:101(0) ack 1"),
        (400, "+.4 > R. 101:101(0) ack 1"),
        (100, "+.1 > R. 101:101(0) ack 1"),
        (1600, "+.4 > P. 1:101(100) ack 1\n+.8 > P. 1:101(100) ack 1\n+.4 > R. 101:101(0) ack 1"),
    ],
)
def test_ends_in_time(conn, ms, script):
    conn.established()
    patience(conn, ms)
    conn.send(100)
    conn.run(f"+0 > P. 1:101(100) ack 1\n+.2 > P. 1:101(100) ack 1\n{script}")
    assert_timed_out(conn)


def test_progress_starts_it_anew(conn):
    conn.established()
    patience(conn, 500)
    conn.send(2920)
    conn.run("""
      +0  > . 1:1461(1460) ack 1
      +0  > P. 1461:2921(1460) ack 1
      +.2 > . 1:1461(1460) ack 1
      +.3 < . 1:1(0) ack 1461
      +0  > P. 1461:2921(1460) ack 1
      +.4 > P. 1461:2921(1460) ack 1
      +.5 > R. 2921:2921(0) ack 1
    """)
    assert_timed_out(conn)


def test_more_than_the_retries_if_it_says_so(make_conn):
    """tcp(7): it "will override" the number of retries."""
    conn = make_conn(data_retries=3)
    conn.established()
    patience(conn, 5000)
    conn.send(100)
    conn.run("+0 > P. 1:101(100) ack 1")
    for wait in (0.2, 0.4, 0.8, 1.6):
        conn.run(f"+{wait} > P. 1:101(100) ack 1")
    conn.run("+2.2 > R. 101:101(0) ack 1")
    assert_timed_out(conn)


def test_orphan(conn):
    """close() does not end it: what is left to send is given up in time."""
    conn.established()
    patience(conn, 1000)
    conn.close()
    conn.run("""
      +0  > F. 1:1(0) ack 1
      +.2 > F. 1:1(0) ack 1
      +.4 > F. 1:1(0) ack 1
      +.6 > R. 2:2(0) ack 1
    """)
    assert conn.state == TcpState.FREE


def test_closed_window_of_a_peer_that_answers(conn):
    """ "Or buffered data may remain untransmitted (due to zero window size)": answers are no progress."""
    conn.established(win=0)
    patience(conn, 1000)
    conn.send(100)
    conn.run("""
      +.2  > . 1:2(1) ack 1
      +.01 < . 1:1(0) ack 1 win 0
      +.39 > . 1:2(1) ack 1
      +.01 < . 1:1(0) ack 1 win 0
      +.59 > R. 1:1(0) ack 1
    """)
    assert_timed_out(conn)


def test_closed_window_after_a_long_silence(conn):
    """It does not count from what was sent long ago."""
    conn.established(win=100)
    patience(conn, 1000)
    conn.send(100)
    conn.run("+0 > P. 1:101(100) ack 1\n+0 < . 1:1(0) ack 101 win 0")
    conn.quiet(3600)
    conn.send(100)
    conn.run("""
      +.2 > . 101:102(1) ack 1
      +.4 > . 101:102(1) ack 1
      +.6 > R. 101:101(0) ack 1
    """)
    assert_timed_out(conn)


def test_window_that_opens_in_time(conn):
    conn.established(win=0)
    patience(conn, 1000)
    conn.send(100)
    conn.run("""
      +.2 > . 1:2(1) ack 1
      +.4 > . 1:2(1) ack 1
      +.5 < . 1:1(0) ack 1 win 1000
      +0  > P. 1:101(100) ack 1
      +.2 > P. 1:101(100) ack 1
      +.4 > P. 1:101(100) ack 1
      +.5 < . 1:1(0) ack 101 win 1000
    """)
    assert conn.state == TcpState.ESTABLISHED


def test_without_it_a_closed_window_is_probed_for_ever(conn):
    conn.established(win=0)
    conn.send(100)
    wait = 0.2
    for _ in range(20):
        conn.run(f"+{wait} > . 1:2(1) ack 1\n+0 < . 1:1(0) ack 1 win 0")
        wait = min(2 * wait, 120)
    assert conn.state == TcpState.ESTABLISHED


@pytest.mark.parametrize("ms", [2500, 1500, 500])
def test_connect(conn, ms):
    """It counts from the SYN, and there is at least one more (Linux)."""
    conn.connect()
    patience(conn, ms)
    conn.run("+0 > S 0:0(0)\n+1 > S 0:0(0)")
    left = max(ms / 1000 - 1, 0.001)
    conn.quiet(left - 0.0005)
    assert conn.state == TcpState.SYN_SENT
    conn.quiet(left + 0.002)
    assert conn.state == TcpState.CLOSED
    assert_timed_out(conn)
