"""What was written before a reset leaves before it, as far as it may leave at once: as on Linux, where send()
sends."""

from neat.stack.tcp.state import TcpState

from .harness.conn import pattern
from .harness.host import EV_FREED, OPT_CORK, REQ_ABORT, REQ_CLOSE, REQ_SHUT_WR

MSS = 1460


def write(conn, length: int) -> None:
    """Into the ring, without the engine having a look."""
    data = pattern(len(conn.written), length)
    assert conn.lab.send(conn.sock, data) == length
    conn.written += data


def abort(conn) -> None:
    """close() with SO_LINGER zero; the engine hears of it together with what was written."""
    conn.lab.request(conn.sock, REQ_ABORT | REQ_CLOSE)
    conn.settle()


def assert_gone(conn) -> None:
    assert conn.state == TcpState.FREE
    assert conn.lab.users == 1  # the listener
    assert any(event.kinds & EV_FREED for event in conn.host.take_events())


def test_text_leaves_before_the_reset(conn):
    conn.established()
    write(conn, 5)
    abort(conn)
    conn.run("""
      +0 > P. 1:6(5) ack 1
      +0 > R. 6:6(0) ack 1
    """)
    assert_gone(conn)


def test_as_much_as_the_window_allows(conn):
    conn.established(win=2 * MSS)
    write(conn, 5 * MSS)
    abort(conn)
    conn.run(f"""
      +0 > . 1:{MSS + 1}({MSS}) ack 1
      +0 > . {MSS + 1}:{2 * MSS + 1}({MSS}) ack 1
      +0 > R. {2 * MSS + 1}:{2 * MSS + 1}(0) ack 1
    """)
    assert_gone(conn)


def test_as_much_as_the_congestion_window_allows(conn):
    conn.established()
    write(conn, 30 * MSS)
    abort(conn)
    edges = [1 + i * MSS for i in range(11)]
    text = "\n".join(f"+0 > . {a}:{a + MSS}({MSS}) ack 1" for a in edges[:-1])
    conn.run(f"{text}\n+0 > R. {edges[-1]}:{edges[-1]}(0) ack 1")
    assert_gone(conn)


def test_nothing_that_is_held_back(conn):
    """By a cork; nothing waits for a timer or for an ACK."""
    conn.established()
    conn.lab.poke(conn.sock, "options", OPT_CORK)
    write(conn, 100)
    abort(conn)
    conn.run("+0 > R. 1:1(0) ack 1")
    assert_gone(conn)


def test_closed_window(conn):
    conn.established(win=0)
    write(conn, 100)
    abort(conn)
    conn.run("+0 > R. 1:1(0) ack 1")
    assert_gone(conn)


def test_unread_text_resets_after_what_was_written(conn):
    """RFC 9293 §3.6: "data is still pending": the same close, by another reason."""
    conn.established()
    conn.run("+0 < P. 1:11(10) ack 1\n+.04 > . 1:1(0) ack 11")
    write(conn, 5)
    conn.lab.request(conn.sock, REQ_CLOSE)
    conn.settle()
    conn.run("""
      +0 > P. 1:6(5) ack 11
      +0 > R. 6:6(0) ack 11
    """)
    assert_gone(conn)


def test_fin_that_was_asked_for_leaves_too(conn):
    conn.established()
    write(conn, 5)
    conn.lab.request(conn.sock, REQ_SHUT_WR | REQ_ABORT | REQ_CLOSE)
    conn.settle()
    out = conn.host.take_sent()
    assert [s.packet.segment.flags & 4 for s in out][-1] == 4
    assert out[0].packet.segment.payload == pattern(0, 5)
    assert_gone(conn)


def test_what_arrives_meanwhile_changes_nothing(conn):
    """The device takes one frame, then the peer's ACK of it comes, then the rest leaves."""
    conn.established()
    write(conn, 3 * MSS)
    conn.lab.request(conn.sock, REQ_ABORT | REQ_CLOSE)
    conn.lab.scan()
    assert len(conn.lab.transmit(limit=1)) == 1
    conn.run(f"""
      +0 < . 1:1(0) ack {MSS + 1}
      +0 > . {MSS + 1}:{2 * MSS + 1}({MSS}) ack 1
      +0 > P. {2 * MSS + 1}:{3 * MSS + 1}({MSS}) ack 1
      +0 > R. {3 * MSS + 1}:{3 * MSS + 1}(0) ack 1
    """)
    assert_gone(conn)
