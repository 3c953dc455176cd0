"""TCP_DEFER_ACCEPT (tcp(7)): accept() sees a connection when it can be read, or the time is over."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import LISTENER_SOCK
from .harness.host import EV_ACCEPT, EV_READABLE

HANDSHAKE = """
  +0 < S 0:0(0) win 65535 <mss 1460>
  +0 > S. 0:0(0) ack 1 <mss 1460>
  +0 < . 1:1(0) ack 1 win 65535
"""


@pytest.fixture
def deferring(conn):
    conn.listen()
    conn.lab.set_defer(LISTENER_SOCK, 5)
    conn.run(HANDSHAKE)
    assert not conn.host.take_events()
    return conn


def test_with_its_first_text(deferring):
    """However long that takes within the time; nothing is sent meanwhile."""
    deferring.quiet(4.5)
    deferring.run("+0 < P. 1:11(10) ack 1 win 65535")
    (event,) = deferring.host.take_events()
    assert event.kinds & EV_ACCEPT and event.kinds & EV_READABLE
    assert deferring.counters["TCP_ACCEPTS_DEFERRED"] == 1


def test_with_a_fin(deferring):
    """That is something to read, too."""
    deferring.run("""
      +1 < F. 1:1(0) ack 1 win 65535
      +0 > . 1:1(0) ack 2
    """)
    (event,) = deferring.host.take_events()
    assert event.kinds & EV_ACCEPT


def test_when_the_time_is_over(deferring):
    """As on Linux since 2.6.32: the SYN-ACK is sent once more, and what answers it is accepted."""
    deferring.quiet(4.9)
    deferring.run("""
      +0.1 > S. 0:0(0) ack 1 <mss 1460>
      +0.1 < . 1:1(0) ack 1 win 65535
    """)
    (event,) = deferring.host.take_events()
    assert event.kinds & EV_ACCEPT


def test_who_is_gone_by_then_is_forgotten(deferring):
    deferring.quiet(4.9)
    deferring.run("""
      +0.1 > S. 0:0(0) ack 1 <mss 1460>
      +0.1 < R 1:1(0)
    """)
    deferring.quiet(200)
    assert not deferring.host.take_events()
    assert deferring.counters.get("TCP_CONNECTIONS", 0) == 0


def test_a_short_round_trip_is_not_taken_for_a_long_one(deferring):
    """The retransmission timeout of what is sent then knows nothing of the peer's pause."""
    deferring.quiet(3)
    deferring.run("+0 < P. 1:11(10) ack 1 win 65535")
    (event,) = deferring.host.take_events()
    info = deferring.lab.conn_info(event.conn)
    assert info["state"] == TcpState.ESTABLISHED
    assert info["rto_us"] < 1_000_000


def test_switched_off_again(conn):
    conn.listen()
    conn.lab.set_defer(LISTENER_SOCK, 5)
    conn.lab.set_defer(LISTENER_SOCK, 0)
    conn.run(HANDSHAKE)
    assert [event.kinds & EV_ACCEPT for event in conn.host.take_events()] == [EV_ACCEPT]
