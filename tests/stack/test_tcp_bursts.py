"""Several segments are handled before anything is sent: no answer that one deserves is forgotten."""

from neat.stack.tcp.state import TcpState

from .harness.conn import Conn, pattern
from .harness.frames import TCP, ethernet, ipv4
from .harness.notation import parse


def burst(conn: Conn, *lines: str) -> None:
    for line in lines:
        conn.lab.arrive(ethernet(ipv4(conn._segment(parse("+0 < " + line)[0]), TCP)))
    conn.settle()


def test_simultaneous_close_in_one_burst(conn):
    """RFC 9293 §3.6 figure 13: the peer's FIN is acknowledged, however soon the ACK of ours comes."""
    conn.established()
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 1")
    burst(conn, "F. 1:1(0) ack 1", ". 2:2(0) ack 2")
    conn.run("+0 > . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


def test_text_and_fin_in_one_burst(conn):
    conn.established()
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 1")
    burst(conn, ". 1:1(0) ack 2", "F. 1:1(0) ack 2")
    conn.run("+0 > . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


def test_handshake_text_and_fin_in_one_burst(conn):
    conn.listen()
    conn.run("+0 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1")
    burst(conn, ". 1:1(0) ack 1", "P. 1:101(100) ack 1", "F. 101:101(0) ack 1")
    conn.run("+0 > . 1:1(0) ack 102")
    conn.accept()
    assert conn.state == TcpState.CLOSE_WAIT
    assert conn.recv() == pattern(0, 100)


def test_lost_last_ack_and_fin_again_in_one_burst(conn):
    conn.established()
    conn.run("+0 < F. 1:1(0) ack 1\n+0 > . 1:1(0) ack 2")
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 2")
    burst(conn, "F. 1:1(0) ack 1", ". 2:2(0) ack 2")
    conn.host.take_sent()
    assert conn.state == TcpState.FREE


def test_peer_that_begins_anew_in_one_burst(conn):
    """Its SYN draws a challenge, and its RST, sent before it saw that, must be the one at RCV.NXT."""
    conn.established()
    burst(conn, "S 5000:5000(0) win 1000", "R 5000:5000(0)", "S 5000:5000(0) win 1000")
    conn.run("""
      +0 > . 1:1(0) ack 1
      +0 < R 1:1(0)
    """)
    assert conn.state == TcpState.CLOSED
