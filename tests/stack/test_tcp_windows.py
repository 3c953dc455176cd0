"""Flow control: zero windows and probes, silly windows on both sides (RFC 9293 §3.8.6)."""

import errno

from neat.stack.tcp.state import TcpState

from .harness.conn import pattern
from .harness.host import EV_WRITABLE
from .harness.notation import parse


def test_window_limits_what_is_sent(conn):
    conn.established(win=2000)
    conn.send(5000)
    conn.run("""
      +0 > . 1:1461(1460) ack 1
      +0 < . 1:1(0) ack 1461 win 2920
      +0 > . 1461:2921(1460) ack 1
      +0 > . 2921:4381(1460) ack 1
      +0 < . 1:1(0) ack 4381 win 2000
      +0 > P. 4381:5001(620) ack 1
    """)


def test_zero_window_is_probed_and_opens(conn):
    conn.established(win=1000)
    conn.send(1500)
    conn.run("""
      +0  > . 1:1001(1000) ack 1
      +0  < . 1:1(0) ack 1001 win 0
      +.2 > . 1001:1002(1) ack 1
      +0  < . 1:1(0) ack 1001 win 0
      +.4 > . 1001:1002(1) ack 1
      +0  < . 1:1(0) ack 1001 win 0
      +.8 > . 1001:1002(1) ack 1
      +0  < . 1:1(0) ack 1001 win 5000
      +0  > P. 1001:1501(500) ack 1
    """)
    assert conn.counters["TCP_ZERO_WINDOW_PROBES"] == 3


def test_probe_that_is_taken(conn):
    conn.established(win=1000)
    conn.send(1500)
    conn.run("""
      +0  > . 1:1001(1000) ack 1
      +0  < . 1:1(0) ack 1001 win 0
      +.2 > . 1001:1002(1) ack 1
      +0  < . 1:1(0) ack 1002 win 5000
      +0  > P. 1002:1501(499) ack 1
    """)


def test_probes_go_on_as_long_as_they_are_answered(make_conn):
    """RFC 9293 §3.8.6.1: a peer that "continues to send acknowledgments" keeps the connection."""
    conn = make_conn(data_retries=3, max_rto_ms=1000)
    conn.established(win=100)
    conn.send(200)
    conn.run("+0 > . 1:101(100) ack 1\n+0 < . 1:1(0) ack 101 win 0")
    for _ in range(20):
        conn.run("* > . 101:102(1) ack 1\n+0 < . 1:1(0) ack 101 win 0")
    assert conn.state == TcpState.ESTABLISHED


def test_unanswered_probes_end_the_connection(make_conn):
    conn = make_conn(data_retries=3)
    conn.established(win=100)
    conn.send(200)
    conn.run("""
      +0   > . 1:101(100) ack 1
      +0   < . 1:1(0) ack 101 win 0
      +.2  > . 101:102(1) ack 1
      +.4  > . 101:102(1) ack 1
      +.8  > . 101:102(1) ack 1
      +1.6 > R. 101:101(0) ack 1
    """)
    assert conn.lab.peek(conn.sock, "error") == errno.ETIMEDOUT


def test_fin_waits_for_a_window(conn):
    conn.established(win=100)
    conn.send(100)
    conn.shutdown()
    conn.run("""
      +0  > P. 1:101(100) ack 1
      +0  < . 1:1(0) ack 101 win 0
      +.2 > F. 101:101(0) ack 1
      +0  < . 1:1(0) ack 102 win 0
    """)
    assert conn.state == TcpState.FIN_WAIT_2


def test_silly_window_is_not_used(conn):
    """RFC 9293 §3.8.6.2.1: less than a segment waits for more, or for the override timer."""
    conn.established(win=10000)
    conn.send(10000)
    conn.host.take_sent()
    conn.inject(parse("+0 < . 1:1(0) ack 8761 win 1239")[0])
    conn.host.take_sent()
    conn.inject(parse("+0 < . 1:1(0) ack 10001 win 100")[0])
    conn.send(5000)
    conn.run("+.2 > . 10001:10101(100) ack 1")


def test_receive_window_closes_and_opens_in_steps(make_conn):
    """RFC 9293 §3.8.6.2.2: the edge moves by a segment or half the buffer."""
    conn = make_conn(rx_size=8192)
    conn.established()
    conn.run("""
      +0 < . 1:4097(4096) ack 1
      +0 > . 1:1(0) ack 4097 win 4096
      +0 < . 4097:8193(4096) ack 1
      +0 > . 1:1(0) ack 8193 win 0
    """)
    assert conn.recv(100) == pattern(0, 100)
    conn.quiet(1)
    assert conn.lab.peek(conn.sock, "rx_tail") == 8192
    conn.recv(3000)
    conn.run("+0 > . 1:1(0) ack 8193 win 3100")


def test_window_never_shrinks(make_conn):
    """The application lowers its limit: the edge stays where it was promised."""
    conn = make_conn(rx_size=1 << 16)
    conn.established()
    conn.lab.poke(conn.sock, "rcvbuf", 4096)
    conn.run("""
      +0 < . 1:1461(1460) ack 1
      +0 < . 1461:2921(1460) ack 1
      +0 > . 1:1(0) ack 2921 win 62615
    """)


def test_receive_limit(conn):
    conn.listen()
    conn.lab.poke(7, "rcvbuf", 5000)
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 win 5000
    """)


def test_probe_of_our_closed_window_is_answered_and_its_ack_counts(make_conn):
    conn = make_conn(rx_size=4096)
    conn.established()
    conn.send(100)
    conn.run("""
      +0 > P. 1:101(100) ack 1
      +0 < . 1:4097(4096) ack 1
      +0 > . 101:101(0) ack 4097 win 0
      +0 < . 4097:4098(1) ack 101
      +0 > . 101:101(0) ack 4097 win 0
    """)
    assert conn.lab.peek(conn.sock, "tx_head") == 100


def test_writable_when_a_third_is_free(make_conn):
    conn = make_conn(tx_size=1 << 14)
    conn.established()
    conn.send(1 << 14)
    conn.lab.poke(conn.sock, "out_block", 1)
    conn.host.take_sent()
    conn.host.take_events()
    conn.inject(parse("+0 < . 1:1(0) ack 4381")[0])
    assert not conn.event_kinds & EV_WRITABLE
    conn.inject(parse("+0 < . 1:1(0) ack 5841")[0])
    assert conn.event_kinds & EV_WRITABLE


def test_text_in_flight_beyond_a_shrunk_window(conn):
    """RFC 9293 §3.8.6: "A TCP sender MUST be robust against window shrinking"."""
    conn.established(win=4380)
    conn.send(4380)
    conn.run("""
      +0  > . 1:1461(1460) ack 1
      +0  > . 1461:2921(1460) ack 1
      +0  > P. 2921:4381(1460) ack 1
      +0  < . 1:1(0) ack 1461 win 0
      +.2 > . 1461:2921(1460) ack 1
      +0  < . 1:1(0) ack 2921 win 5000
      +0  > P. 2921:4381(1460) ack 1
      +0  < . 1:1(0) ack 4381
    """)


def test_old_segment_does_not_change_the_window(conn):
    """RFC 9293 §3.10.7.4: SND.WL1 and SND.WL2 "prevent using old segments to update the window"."""
    conn.established(win=5000)
    conn.run("""
      +0   < P. 1:101(100) ack 1
      +0   < P. 101:201(100) ack 1 win 6000
      +.04 > . 1:1(0) ack 201
      +0   < . 51:251(200) ack 1 win 100
      +.04 > . 1:1(0) ack 251
    """)
    assert conn.info["snd_wnd"] == 6000


def test_the_client_core_is_told_of_small_windows(make_conn):
    """It wakes the replica when what it freed is much more than that."""
    conn = make_conn(rx_size=8192)
    conn.established()
    assert conn.lab.peek(conn.sock, "rcv_wnd") == 6144, "at least three quarters"
    conn.run("""
      +0 < . 1:4097(4096) ack 1
      +0 > . 1:1(0) ack 4097 win 4096
    """)
    assert conn.lab.peek(conn.sock, "rcv_wnd") == 4096
    conn.run("""
      +0 < . 4097:8193(4096) ack 1
      +0 > . 1:1(0) ack 8193 win 0
    """)
    assert conn.lab.peek(conn.sock, "rcv_wnd") == 0
