"""A peer that shrinks its window to nothing under what is on its way, and keeps answering."""

from neat.stack.tcp.state import TcpState

from .harness.conn import PEER_PORT, STACK_PORT, Conn
from .harness.frames import ACK, TCP, ethernet, ipv4, tcp
from .harness.host import SECOND

HOUR = 3600 * SECOND


def answer_everything(conn: Conn, duration: int, ack: int) -> int:
    """Whatever is sent is answered with the same ACK and a window of zero. Returns how often."""
    answer = tcp(PEER_PORT, STACK_PORT, conn.irs + 1, conn.iss + ack, ACK, 0)
    end, answers = conn.host.now + duration, 0
    while conn.host.now < end:
        conn.host.until(end, stop_when_sent=True)
        answers += len(conn.host.take_sent())
        conn.host.arrive(ethernet(ipv4(answer, TCP)))
    return answers


def test_a_window_that_shrinks_to_nothing(conn):
    """RFC 9293 §3.8.6: what is in flight is lost with the window, the connection is not."""
    conn.established()
    conn.send(2000)
    conn.run("""
        +0   > . 1:1461(1460) ack 1
        +0   > P. 1461:2001(540) ack 1
        +.01 < . 1:1(0) ack 1461 win 0
    """)
    assert 20 < answer_everything(conn, 5 * HOUR, 1461) < 1000
    assert conn.state == TcpState.ESTABLISHED
    conn.run("""
        +0 < . 1:1(0) ack 1461 win 5000
        +0 > P. 1461:2001(540) ack 1
    """)


def test_a_window_that_stays_closed(conn):
    """RFC 9293 §3.8.6.1: probed for ever while answered; then all goes on at once."""
    conn.established()
    conn.send(2000)
    conn.run("""
        +0 > . 1:1461(1460) ack 1
        +0 > P. 1461:2001(540) ack 1
        +0 < . 1:1(0) ack 2001 win 0
    """)
    conn.send(1000)
    assert 20 < answer_everything(conn, 5 * HOUR, 2001) < 1000
    assert conn.state == TcpState.ESTABLISHED
    conn.run("""
        +0 < . 1:1(0) ack 2001 win 5000
        +0 > P. 2001:3001(1000) ack 1
    """)


def test_after_a_closed_window_a_loss_is_repaired_soon(conn):
    """The timeout that grew with the probes is not that of the text after them."""
    conn.established()
    conn.send(1000)
    conn.run("""
        +0   > P. 1:1001(1000) ack 1
        +.01 < . 1:1(0) ack 1001 win 0
    """)
    conn.send(1000)
    answer_everything(conn, HOUR, 1001)
    conn.run("""
        +0        < . 1:1(0) ack 1001 win 5000
        +0        > P. 1001:2001(1000) ack 1
        +.1~+1.5  > P. 1001:2001(1000) ack 1
    """)


def test_a_small_last_segment_is_sent_again_with_the_others(conn):
    """Nagle holds back what is new: after a timeout the tail follows its predecessor at once."""
    conn.established()
    conn.send(2000)
    conn.run("""
        +0   > . 1:1461(1460) ack 1
        +0   > P. 1461:2001(540) ack 1
        +.2  > . 1:1461(1460) ack 1
        +.01 < . 1:1(0) ack 1461 win 65535
        +0   > P. 1461:2001(540) ack 1
    """)
