"""What an application sets before connect() holds from the SYN on: TCP_MAXSEG, SO_RCVBUF, IP_TOS; and
TCP_SYNCNT."""

import errno

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import LISTENER_SOCK, STACK_PORT, Conn
from .harness.frames import PEER_IP


def connect(conn: Conn, **wishes) -> None:
    conn.index = conn.lab.connect(PEER_IP, conn.port, local_port=STACK_PORT, **wishes)
    conn.sock = conn.lab.conn_info(conn.index)["sock"]
    conn.settle()


@pytest.mark.parametrize(
    ("maxseg", "offered"), [(0, 1460), (536, 536), (88, 88), (1460, 1460), (9000, 1460), (87, 1460)]
)
def test_maxseg_is_what_the_syn_offers(conn, maxseg, offered):
    """RFC 9293 §3.7.1; more than the link carries is not believed."""
    connect(conn, maxseg=maxseg)
    conn.run(f"+0 > S 0:0(0) <mss {offered},...>\n+1 > S 0:0(0) <mss {offered},...>")


def test_maxseg_bounds_what_is_sent(conn):
    """As on Linux: whatever the peer would take."""
    connect(conn, maxseg=600)
    conn.run("""
      +0 > S 0:0(0) <mss 600,...>
      +0 < S. 0:0(0) ack 1 win 65535 <mss 1460>
      +0 > . 1:1(0) ack 1
    """)
    conn.send(1500)
    conn.run("""
      +0 > . 1:601(600) ack 1
      +0 > . 601:1201(600) ack 1
      +0 > P. 1201:1501(300) ack 1
    """)


def test_the_peer_may_want_less(conn):
    connect(conn, maxseg=1000)
    conn.run("""
      +0 > S 0:0(0) <mss 1000,...>
      +0 < S. 0:0(0) ack 1 win 65535 <mss 500>
      +0 > . 1:1(0) ack 1
    """)
    assert conn.info["mss"] == 500


def test_rcvbuf_is_the_window_of_the_syn(conn):
    connect(conn, rcvbuf=5000)
    conn.run("+0 > S 0:0(0) win 5000 <mss 1460,...>")


def test_tos_and_ttl_are_those_of_the_syn(conn):
    connect(conn, tos=0x10, ttl=33)
    (syn,) = conn.host.take_sent()
    assert (syn.frame[15], syn.frame[22]) == (0x10, 33)


def test_options_are_there_from_the_start(conn):
    connect(conn, options=0x101)
    assert conn.lab.peek(conn.sock, "options") == 0x101
    conn.host.take_sent()


@pytest.mark.parametrize(("retries", "syns"), [(1, 2), (2, 3), (3, 4), (0, 7), (128, 7)])
def test_syncnt_is_the_number_of_retransmissions(conn, retries, syns):
    """0 and nonsense: the stack's setting."""
    conn.connect()
    conn.lab.poke(conn.sock, "syn_retries", retries)
    conn.settle()
    conn.run("+0 > S 0:0(0)" + "".join(f"\n+{2**i} > S 0:0(0)" for i in range(syns - 1)))
    conn.quiet(2 ** (syns - 1) - 0.5)
    assert conn.state == TcpState.SYN_SENT
    conn.quiet(2 ** (syns - 1) + 0.5)
    assert conn.host.take_events()[-1].error == errno.ETIMEDOUT


def test_syncnt_of_a_listener_is_that_of_its_syn_acks(conn):
    """As on Linux."""
    conn.listen()
    conn.lab.poke(LISTENER_SOCK, "syn_retries", 1)
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +1 > S. 0:0(0) ack 1
    """)
    conn.quiet(10)
    assert not conn.counters.get("TCP_CONNECTIONS")
