"""Where an ACK or a RST stands while the peer's window is closed: where it is read (RFC 9293 §3.10.7.4).

A peer whose window is zero takes nothing but an empty segment at RCV.NXT. If it ignored our ACKs it would
send its text again and again, and an application that reads only after it has written would wait for ever.
"""

from neat.stack.tcp.state import TcpState

from .harness.conn import pattern


def test_ack_while_a_probe_is_under_way(conn):
    conn.established(win=1000)
    conn.send(1500)
    conn.run("""
      +0   > . 1:1001(1000) ack 1
      +0   < . 1:1(0) ack 1001 win 0
      +.2  > . 1001:1002(1) ack 1
      +0   < . 1:1(0) ack 1001 win 0
      +0   < P. 1:101(100) ack 1001 win 0
      +.04 > . 1001:1001(0) ack 101
    """)
    assert conn.recv() == pattern(0, 100)


def test_ack_after_the_window_shrank(conn):
    conn.established()
    conn.send(2000)
    conn.run("""
      +0   > . 1:1461(1460) ack 1
      +0   > P. 1461:2001(540) ack 1
      +.01 < . 1:1(0) ack 1461 win 0
      +0   < P. 1:101(100) ack 1461 win 0
      +.04 > . 1461:1461(0) ack 101
      +0   < P. 101:201(100) ack 1461 win 100
      +.04 > . 1561:1561(0) ack 201
    """)
    assert len(conn.recv()) == 200


def test_ack_while_the_fin_probes(conn):
    conn.established(win=100)
    conn.send(100)
    conn.shutdown()
    conn.run("""
      +0   > P. 1:101(100) ack 1
      +0   < . 1:1(0) ack 101 win 0
      +.2  > F. 101:101(0) ack 1
      +0   < P. 1:101(100) ack 101 win 0
      +.04 > . 101:101(0) ack 101
    """)
    assert conn.state == TcpState.FIN_WAIT_1


def test_ack_with_all_in_flight_stands_behind_it(conn):
    """The usual case: an ACK at SND.NXT, also when the window is full."""
    conn.established(win=1000)
    conn.send(1000)
    conn.run("""
      +0   > P. 1:1001(1000) ack 1
      +0   < P. 1:101(100) ack 1 win 1000
      +.04 > . 1001:1001(0) ack 101
    """)


def test_rst_at_a_closed_window_is_exact(conn):
    """RFC 5961 §3.2: the peer obeys a RST at its RCV.NXT, and there it still is."""
    conn.established(win=1000)
    conn.send(1500)
    conn.run("""
      +0  > . 1:1001(1000) ack 1
      +0  < . 1:1(0) ack 1001 win 0
      +.2 > . 1001:1002(1) ack 1
      +0  < . 1:1(0) ack 1001 win 0
    """)
    conn.close(abort=True)
    conn.run("+0 > R. 1001:1001(0) ack 1")


def test_challenge_in_syn_rcvd(conn):
    """No window is known before the handshake is done; the SYN counts."""
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 1000 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 70000:70000(0) ack 1
      +0 > . 1:1(0) ack 1
    """)


def test_bare_fin_at_our_closed_window_is_taken(make_conn):
    """It needs no room. As on Linux: there are peers that do not wait for a window."""
    conn = make_conn(rx_size=4096)
    conn.established()
    conn.run("""
      +0 < . 1:4097(4096) ack 1
      +0 > . 1:1(0) ack 4097 win 0
      +0 < F. 4098:4098(0) ack 1
      +0 > . 1:1(0) ack 4097 win 0
      +0 < F. 4097:4097(0) ack 1
      +0 > . 1:1(0) ack 4098 win 0
    """)
    assert conn.state == TcpState.CLOSE_WAIT
    assert conn.recv() == pattern(0, 4096)


def test_text_and_fin_at_our_closed_window_are_not_taken(make_conn):
    conn = make_conn(rx_size=4096)
    conn.established()
    conn.run("""
      +0 < . 1:4097(4096) ack 1
      +0 > . 1:1(0) ack 4097 win 0
      +0 < F. 4097:4098(1) ack 1
      +0 > . 1:1(0) ack 4097 win 0
    """)
    assert conn.state == TcpState.ESTABLISHED
