"""Blind attacks and strays: RST rules, challenge ACKs, ICMP, backlog (RFC 9293 §3.5; RFC 5961, 5927)."""

import errno

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import LISTENER_SOCK, STACK_PORT, Conn
from .harness.host import EV_ACCEPT, EV_RESET, RECORD_FLOW_DELETE, Host


def test_segment_for_nobody_draws_rst(conn):
    """RFC 9293 §3.10.7.1"""
    conn.iss = 0
    conn.run("""
      +0 < S 0:0(0) win 1000
      +0 > R. 0:0(0) ack 1
      +0 < . 5:5(0) ack 77
      +0 > R 77:77(0)
      +0 < FP. 5:15(10) ack 77
      +0 > R 77:77(0)
      +0 < F 5:15(10)
      +0 > R. 0:0(0) ack 16
      +0 < R 5:5(0)
      +0 < R. 5:5(0) ack 77
    """)


def test_ack_to_a_listener_draws_rst(conn):
    conn.listen()
    conn.iss = 0
    conn.run("""
      +0 < . 5:5(0) ack 77
      +0 > R 77:77(0)
      +0 < S. 5:5(0) ack 77
      +0 > R 77:77(0)
      +0 < R 5:5(0)
    """)


def test_exact_rst_resets(conn):
    conn.established()
    conn.host.take_events()
    conn.run("+0 < R 1:1(0)")
    (event,) = conn.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, errno.ECONNRESET)
    assert conn.state == TcpState.CLOSED
    assert [kind for kind, _ in conn.host.flows] == [RECORD_FLOW_DELETE]


def test_inexact_rst_draws_challenge_ack(conn):
    """RFC 5961 §3.2: an in-window RST that is not at RCV.NXT is challenged, not obeyed."""
    conn.established()
    conn.run("""
      +0 < R 101:101(0) win 0
      +0 > . 1:1(0) ack 1
    """)
    assert conn.state == TcpState.ESTABLISHED
    assert conn.counters["TCP_INEXACT_RST"] == 1


def test_rst_outside_the_window_is_dropped(conn):
    conn.established()
    conn.run("+0 < R 100000:100000(0)")
    assert conn.state == TcpState.ESTABLISHED


def test_syn_in_window_draws_challenge_ack(conn):
    """RFC 5961 §4.2"""
    conn.established()
    conn.run("""
      +0 < S 101:101(0) win 1000
      +0 > . 1:1(0) ack 1
      +0 < S. 1:1(0) ack 1
      +0 > . 1:1(0) ack 1
    """)
    assert conn.state == TcpState.ESTABLISHED


def test_restarted_peer_is_told_by_the_challenge(conn):
    """RFC 9293 §3.5.1: the half-open end answers our ACK with a RST that is exact."""
    conn.established()
    conn.run("""
      +0 < S 101:101(0) win 1000
      +0 > . 1:1(0) ack 1
      +0 < R 1:1(0)
    """)
    assert conn.state == TcpState.CLOSED


def test_challenges_are_limited(conn):
    """RFC 5961 §7"""
    conn.established()
    for _ in range(10):
        conn.run("+0 < R 101:101(0)\n+0 > . 1:1(0) ack 1")
    for _ in range(10):
        conn.run("+0 < R 101:101(0)")
    conn.run("+1.1 < R 101:101(0)\n+0 > . 1:1(0) ack 1")


def test_ack_of_what_was_never_sent(conn):
    """RFC 5961 §5.2: such segments "MUST be discarded and an ACK sent back"."""
    conn.established()
    conn.run("""
      +0 < P. 1:11(10) ack 500
      +0 > . 1:1(0) ack 1
    """)
    assert conn.recv() == b""
    assert conn.counters["TCP_BAD_ACK"] == 1


def test_ack_far_in_the_past(conn):
    conn.established(win=1000)
    conn.run(f"""
      +0 < P. 1:11(10) ack {1 - 1001 + 2**32} win 1000
      +0 > . 1:1(0) ack 1
    """)
    assert conn.recv() == b""


def test_segment_without_ack_is_dropped(conn):
    conn.established()
    conn.run("+0 < P 1:11(10)")
    assert conn.recv() == b""
    assert conn.counters["TCP_NO_ACK"] == 1


def test_empty_segments_outside_the_window_do_not_feed_an_ack_war(conn):
    conn.established()
    for _ in range(10):
        conn.run("+0 < . 90000:90000(0) ack 1\n+0 > . 1:1(0) ack 1")
    for _ in range(10):
        conn.run("+0 < . 90000:90000(0) ack 1")


def test_ack_at_the_right_edge_counts(make_conn):
    """Deviates from RFC 9293 §3.10.7.4: there stands the ACK of a peer whose last window of text was lost."""
    conn = make_conn(rx_size=8192)
    conn.established()
    conn.send(100)
    conn.run("""
      +0 > P. 1:101(100) ack 1
      +0 < . 8193:8193(0) ack 101
    """)
    assert conn.lab.peek(conn.sock, "tx_head") == 100


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("port", errno.ECONNREFUSED),
        ("protocol", errno.ENOPROTOOPT),
        ("net", errno.ENETUNREACH),
        ("host", errno.EHOSTUNREACH),
        ("admin", errno.EHOSTUNREACH),
    ],
)
def test_icmp_ends_a_connect(conn, kind, code):
    """RFC 5461 §4.1"""
    conn.connect()
    conn.run(f"""
      +0 > S 0:0(0)
      +0 < icmp unreachable {kind} [0:0(0)]
    """)
    (event,) = conn.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, code)


def test_icmp_does_not_end_an_established_connection(conn):
    conn.established()
    conn.send(10)
    conn.run("""
      +0 > P. 1:11(10) ack 1
      +0 < icmp unreachable port [1:11(10)]
      +0 < icmp unreachable host [5000:5010(10)]
      +0 < icmp unreachable frag_needed mtu 68 [1:11(10)]
    """)
    assert conn.state == TcpState.ESTABLISHED
    assert conn.info["mss"] == 1460
    assert conn.counters["TCP_ICMP_IGNORED"] == 1


def syn(host, port):
    conn = Conn(1000, host=host, port=port)
    conn.run("+0 < S 0:0(0) win 65535 <mss 1460>")
    return conn


def test_backlog_counts_what_is_not_accepted(make_conn):
    """As on Linux, one more than the backlog fits. A SYN that does not is dropped, not refused."""
    first = make_conn()
    first.listen(backlog=1)
    conns = [first] + [Conn(1000, host=first.host, port=41000 + i) for i in range(2)]
    for conn in conns[:2]:
        conn.run("""
          +0 < S 0:0(0) win 65535 <mss 1460>
          +0 > S. 0:0(0) ack 1
          +0 < . 1:1(0) ack 1 win 65535
        """)
    conns[2].run("+0 < S 0:0(0) win 65535 <mss 1460>")
    assert first.counters["TCP_BACKLOG_FULL"] == 1
    first.accept()
    conns[2].run("+1 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1")


def test_dead_connections_leave_the_backlog(make_conn):
    first = make_conn()
    first.listen(backlog=0)
    first.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < R 1:1(0)
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
    """)


def test_backlog_can_change(make_conn):
    first = make_conn()
    first.listen(backlog=0)
    first.run("+0 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1")
    other = Conn(1000, host=first.host, port=41000)
    other.run("+0 < S 0:0(0) win 65535 <mss 1460>")
    first.lab.set_backlog(LISTENER_SOCK, 5)
    other.run("+0 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1")


def test_closed_listener_resets_what_waits(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:1(0) ack 1 win 65535
    """)
    conn.lab.unlisten(LISTENER_SOCK)
    conn.settle()
    conn.run("+0 > R. 1:1(0) ack 1")
    assert conn.lab.users == 0


def test_closed_listener_leaves_accepted_connections_alone(conn):
    conn.established()
    conn.lab.unlisten(LISTENER_SOCK)
    conn.send(10)
    conn.run("+0 > P. 1:11(10) ack 1\n+0 < . 1:1(0) ack 11")


def test_full_table(make_conn):
    first = make_conn(max_connections=2)
    first.listen()
    for i in range(2):
        Conn(1000, host=first.host, port=41000 + i).run("+0 < S 0:0(0) win 65535\n+0 > S. 0:0(0) ack 1")
    first.run("+0 < S 0:0(0) win 65535")
    assert first.counters["TCP_TABLE_FULL"] == 1


def test_no_socket_left_for_a_connection():
    first = Conn(1000, nsock=320, max_connections=128)
    first.listen(backlog=200)
    for i in range(65):
        conn = Conn(1000, host=first.host, port=41000 + i)
        conn.run(
            """
          +0 < S 0:0(0) win 65535
          +0 > S. 0:0(0) ack 1
          +0 < . 1:1(0) ack 1 win 65535
        """
            + ("+0 > R. 1:1(0) ack 1" if i == 64 else "")
        )
    assert first.counters["TCP_NO_SOCK"] == 1


def test_listen_checks_its_arguments(host):
    host.lab.listen(7, 80)
    for sock, port, code in (
        (8, 80, errno.EADDRINUSE),
        (7, 81, errno.EADDRINUSE),
        (300, 81, errno.EINVAL),
        (9, 0, errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            host.lab.listen(sock, port)
        assert caught.value.errno == code
    assert STACK_PORT == 80


def test_reuseport_spreads_connections(host):
    for sock in (7, 8):
        host.lab.listen(sock, 80, flags=2, backlog=100)
    for i in range(40):
        Conn(1000, host=host, port=41000 + i).run("""
          +0 < S 0:0(0) win 65535
          +0 > S. 0:0(0) ack 1
          +0 < . 1:1(0) ack 1 win 65535
        """)
    socks = [e.listener_sock for e in host.take_events()]
    assert 5 < socks.count(7) < 35


def test_the_share_of_a_closed_listener_goes_to_the_others():
    """And theirs stays where it was."""
    host = Host(max_connections=200)
    for sock in (7, 8, 9):
        host.lab.listen(sock, 80, flags=2, backlog=200)

    def spread():
        """Which listener each of the peer's ports reaches; then all are reset."""
        found = {}
        for port in range(41000, 41040):
            conn = Conn(1000, host=host, port=port)
            conn.run("""
              +0 < S 0:0(0) win 65535
              +0 > S. 0:0(0) ack 1
              +0 < . 1:1(0) ack 1 win 65535
            """)
            found[port] = next(e.listener_sock for e in host.take_events() if e.kinds & EV_ACCEPT)
            conn.run("+0 < R 1:1(0)")
            host.take_events()
            host.lab.close(next(c for c in range(200) if host.lab.conn_info(c)))
            host.turn()
        return found

    before = spread()
    assert set(before.values()) == {7, 8, 9}
    host.lab.unlisten(8)
    after = spread()
    assert set(after.values()) == {7, 9}
    assert all(after[port] == sock for port, sock in before.items() if sock != 8)


def test_half_of_a_segment_is_not_parsed(conn):
    from .harness.frames import ACK, TCP, ethernet, ipv4, tcp

    conn.established()
    whole = tcp(conn.port, STACK_PORT, conn.irs + 1, conn.iss + 1, ACK, 65535, b"\1\1\1\1", b"")
    for size in range(20):
        conn.host.arrive(ethernet(ipv4(whole[:size], TCP)))
    assert conn.counters["TCP_BAD_HEADER"] == 20


def test_broken_options_end_the_list(conn):
    from .harness.frames import SYN, TCP, ethernet, ipv4, tcp

    conn.listen()
    for options in (b"\2\0\0\0", b"\2\4\5", b"\3\3", b"\10\12\0\0", b"\377\377\0\0", b"\2\4\5\264\2"):
        conn.host.arrive(
            ethernet(
                ipv4(tcp(conn.port, STACK_PORT, 7, 0, SYN, 1000, options + bytes(-len(options) % 4)), TCP)
            )
        )
    conn.host.take_sent()
