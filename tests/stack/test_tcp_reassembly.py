"""Text that comes in any order, in any pieces, repeated, overlapping (RFC 9293 §3.10.7.4, RFC 5681 §4.2)."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neat.stack.tcp.state import TcpState

from .harness.conn import Conn, pattern
from .harness.frames import TCP, ethernet, ipv4
from .harness.notation import parse


def test_hole_draws_duplicate_acks_and_its_filling_one_at_once(conn):
    """RFC 5681 §4.2: "send an immediate duplicate ACK when an out-of-order segment arrives"."""
    conn.established()
    conn.run("""
      +0 < . 1001:2001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 2001:3001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 1:1001(1000) ack 1
      +0 > . 1:1(0) ack 3001
    """)
    assert conn.recv() == pattern(0, 3000)


def test_each_segment_behind_a_hole_draws_its_own_duplicate(conn):
    """A burst is handled before anything is sent; the sender needs to count all the same."""
    conn.established()
    for line in (
        "+0 < . 1001:2001(1000) ack 1",
        "+0 < . 2001:3001(1000) ack 1",
        "+0 < . 3001:4001(1000) ack 1",
    ):
        body = conn._segment(parse(line)[0])

        conn.lab.arrive(ethernet(ipv4(body, TCP)))
    conn.settle()
    conn.run("""
      +0 > . 1:1(0) ack 1
      +0 > . 1:1(0) ack 1
      +0 > . 1:1(0) ack 1
    """)


def test_duplicates_repeat_the_window(make_conn):
    """RFC 5681 §2 (e): the sender does not count an ACK whose window is another."""
    conn = make_conn(rx_size=1 << 15)
    conn.established()
    conn.run("""
      +0 < . 1:10001(10000) ack 1
      +0 > . 1:1(0) ack 10001 win 22768
      +0 < . 11001:12001(1000) ack 1
      +0 > . 1:1(0) ack 10001 win 22768
    """)
    assert conn.recv() == pattern(0, 10000)
    conn.run("""
      +0 < . 12001:13001(1000) ack 1
      +0 > . 1:1(0) ack 10001 win 22768
      +0 < . 10001:11001(1000) ack 1
      +0 > . 1:1(0) ack 13001 win 29768
    """)


def test_one_of_two_holes_is_filled(conn):
    conn.established()
    conn.run("""
      +0 < . 1001:2001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 3001:4001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 1:1001(1000) ack 1
      +0 > . 1:1(0) ack 2001
      +0 < . 2001:3001(1000) ack 1
      +0 > . 1:1(0) ack 4001
    """)
    assert conn.recv() == pattern(0, 4000)


def test_overlaps(conn):
    conn.established()
    conn.run("""
      +0 < . 1001:2001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 501:1501(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 1:601(600) ack 1
      +0 > . 1:1(0) ack 2001
      +0 < . 1501:2501(1000) ack 1
      +.04 > . 1:1(0) ack 2501
    """)
    assert conn.recv() == pattern(0, 2500)


def test_old_text_is_acknowledged_again(conn):
    conn.established()
    conn.run("""
      +0 < . 1:101(100) ack 1
      +.04 > . 1:1(0) ack 101
      +0 < . 1:101(100) ack 1
      +0 > . 1:1(0) ack 101
    """)
    assert conn.recv() == pattern(0, 100)
    assert conn.counters["TCP_OUT_OF_WINDOW"] == 1


def test_fin_behind_a_hole_waits(conn):
    conn.established()
    conn.run("""
      +0 < F. 1001:2001(1000) ack 1
      +0 > . 1:1(0) ack 1
    """)
    assert conn.state == TcpState.ESTABLISHED
    conn.run("""
      +0 < . 1:1001(1000) ack 1
      +0 > . 1:1(0) ack 2002
    """)
    assert conn.state == TcpState.CLOSE_WAIT
    assert conn.recv() == pattern(0, 2000)


def test_more_holes_than_we_note(conn):
    """What does not fit is not lost for ever: it is sent again."""
    conn.established()
    for i in range(20):
        start = 101 + 200 * i
        conn.run(f"""
          +0 < . {start}:{start + 100}(100) ack 1
          +0 > . 1:1(0) ack 1
        """)
    assert conn.counters["TCP_OOO_FULL"] == 4
    for i in range(20):
        start = 1 + 200 * i
        conn.inject(parse(f"+0 < . {start}:{start + 200}(200) ack 1")[0])
    assert conn.recv() == pattern(0, 4000)
    conn.host.take_sent()


def test_text_beyond_the_window_is_cut(make_conn):
    conn = make_conn(rx_size=4096)
    conn.established()
    conn.run("""
      +0 < . 1:4097(4096) ack 1
      +0 > . 1:1(0) ack 4097 win 0
      +0 < . 4097:4197(100) ack 1
      +0 > . 1:1(0) ack 4097 win 0
    """)
    assert len(conn.recv()) == 4096
    conn.run("""
      +0 > . 1:1(0) ack 4097 win 4096
      +0 < . 4097:9097(5000) ack 1
      +0 > . 1:1(0) ack 8193 win 0
    """)
    assert conn.counters["TCP_BEYOND_WINDOW"] == 1


@pytest.mark.parametrize("iss", [1000, 2**32 - 3000])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 3000)), max_size=40))
def test_any_pieces_make_the_stream(iss, pieces):
    """Whatever came before: once every byte was sent in order, every byte is there, and none twice."""
    conn = Conn(iss, rx_size=1 << 14)
    conn.established()
    for start, length in pieces:
        end = min(start + length, 9000)
        conn.inject(parse(f"+0 < . {1 + start}:{1 + end}({end - start}) ack 1")[0])
    for start in range(0, 9000, 900):
        conn.inject(parse(f"+0 < . {1 + start}:{901 + start}(900) ack 1")[0])
    assert conn.recv() == pattern(0, 9000)
    assert conn.info["rcv_nxt"] == (conn.irs + 9001) % 2**32
