"""NEAT_REQ_CLOSE: the application closes the last descriptor, and says so. Its hang-up comes later."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.host import EV_FREED, REQ_ABORT, REQ_ACCEPTED, REQ_CLOSE


def say(conn, bits):
    conn.lab.request(conn.sock, bits)
    conn.settle()


def test_the_fin_leaves_with_the_last_data(conn):
    """One segment for both, as when Linux is told of both at once."""
    conn.established()
    conn.host.take_events()
    conn.lab.send(conn.sock, b"x" * 100)
    say(conn, REQ_CLOSE)
    (sent,) = conn.host.take_sent()
    assert sent.packet.payload[-100:] == b"x" * 100 and sent.packet.payload[13] & 0x19 == 0x19
    assert conn.state == TcpState.FIN_WAIT_1


def test_the_hang_up_that_follows_changes_nothing(conn):
    """Before and after the connection is gone."""
    conn.established()
    conn.host.take_events()
    say(conn, REQ_CLOSE)
    conn.run("+0 > F. 1:1(0) ack 1")
    conn.lab.close(conn.index)
    conn.run("+0 < . 1:1(0) ack 2")
    assert conn.event_kinds == EV_FREED
    conn.lab.close(conn.index)
    conn.run("""
      +0 < F. 1:1(0) ack 2
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.TIME_WAIT


@pytest.mark.parametrize("reason", ["unread", "linger"])
def test_a_reset_as_the_hang_up_would_be(conn, reason):
    """RFC 2525 §2.17: unread data at close; and SO_LINGER with zero."""
    conn.established()
    conn.host.take_events()
    if reason == "unread":
        conn.run("+0 < P. 1:11(10) ack 1 win 65535")
        conn.host.take_events()
    say(conn, REQ_CLOSE | (REQ_ABORT if reason == "linger" else 0))
    conn.run(f"+0 > R. 1:1(0) ack {11 if reason == 'unread' else 1}")
    assert conn.event_kinds == EV_FREED
    assert conn.lab.users == 1, "only the listener"


def test_what_was_read_before_is_not_unread(conn):
    """The application took it all, and said so together with the request."""
    conn.established()
    conn.run("+0 < P. 1:11(10) ack 1 win 65535")
    assert len(conn.lab.recv(conn.sock)) == 10
    say(conn, REQ_CLOSE)
    conn.run("+0 > F. 1:1(0) ack 11")


def test_accepted_and_closed_at_once(conn):
    """It no longer counts against the backlog, and closing the listener leaves it alone."""
    conn.listen(backlog=0)
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <mss 1460>
      +0 < . 1:1(0) ack 1 win 65535
    """)
    (event,) = conn.host.take_events()
    conn.sock = event.sock
    say(conn, REQ_ACCEPTED | REQ_CLOSE)
    conn.run("+0 > F. 1:1(0) ack 1")
    conn.lab.unlisten(7)
    conn.run("+0 < . 1:1(0) ack 2")
    assert not conn.host.take_sent()


def test_before_the_connection_is_up(conn):
    """Nonsense from an application: its connection attempt is over, and nothing else."""
    conn.connect()
    conn.run("+0 > S 0:0(0) <mss 1460,...>")
    say(conn, REQ_CLOSE)
    assert conn.lab.users == 0
