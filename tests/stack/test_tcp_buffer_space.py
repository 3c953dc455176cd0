"""How much a peer may send ahead: the receive buffer grows for an application that reads, for no other."""

import pytest

from tests.stack.harness.conn import LISTENER_SOCK, pattern
from tests.stack.harness.notation import parse

FIRST, RING = 1 << 18, 1 << 20
FRAME = 1 << 14  # as the device merges them


@pytest.fixture
def fast(make_conn):
    """A connection with a window scale, and a receive ring of four times the first space."""
    conn = make_conn(rx_size=RING)
    conn.established(options="mss 1460,wscale 7", win=500)
    return conn


def window(conn):
    """What the peer may send now."""
    return conn.info["rcv_wnd"]


def arrive(conn, start, length=FRAME):
    conn.inject(parse(f"+0 < . {start}:{start + length}({length}) ack 1 win 500")[0])
    conn.host.take_sent()


def flow(conn, total, pause=0.0, start=1):
    """The application reads each frame when it comes, and then sleeps for `pause` seconds."""
    for at in range(start, start + total, FRAME):
        arrive(conn, at)
        assert conn.recv() == pattern(at - 1, FRAME)
        conn.host.run_for(pause)
        conn.host.take_sent()
    return start + total


def test_one_that_reads_nothing_holds_the_first_space_only(fast):
    for at in range(1, 1 + FIRST, FRAME):
        arrive(fast, at)
        assert window(fast) <= FIRST
    assert window(fast) == 0
    assert fast.lab.peek(fast.sock, "rcv_limit") == FIRST


def test_one_that_reads_gets_twice_as_much_until_it_has_the_ring(fast):
    at = flow(fast, FIRST + FRAME)
    arrive(fast, at)
    assert window(fast) + FRAME == 2 * FIRST
    assert fast.lab.peek(fast.sock, "rcv_limit") == 2 * FIRST
    fast.recv()
    at = flow(fast, 8 * FIRST, start=at + FRAME)
    arrive(fast, at)
    assert window(fast) + FRAME == RING


def test_one_that_reads_slowly_does_not(fast):
    """256 KiB in more than a quarter of a second: a window of that size does not stop it."""
    at = flow(fast, 4 * FIRST, pause=0.02)
    arrive(fast, at)
    assert window(fast) + FRAME == FIRST


def test_one_that_stalls_keeps_what_it_was_promised(fast):
    at = flow(fast, 2 * FIRST)
    promised = window(fast)
    assert promised > FIRST
    fast.host.run_for(1)
    arrive(fast, at)
    assert window(fast) + FRAME >= promised


def test_a_limit_of_its_own_is_there_at_once(make_conn):
    """SO_RCVBUF"""
    conn = make_conn(rx_size=RING)
    conn.listen()
    conn.lab.poke(LISTENER_SOCK, "rcvbuf", RING // 2)
    conn.run("""
      +0 < S 0:0(0) win 500 <mss 1460,wscale 7>
      +0 > S. 0:0(0) ack 1 <...>
      +0 < . 1:1(0) ack 1 win 500
    """)
    conn.accept()
    arrive(conn, 1)
    assert window(conn) + FRAME == RING // 2


def test_one_that_waits_for_more_than_the_first_space_gets_it(fast):
    """SO_RCVLOWAT: it reads nothing before it is all there."""
    fast.lab.poke(fast.sock, "rcvlowat", RING // 2)
    for at in range(1, 1 + RING, FRAME):
        arrive(fast, at)
    assert fast.lab.peek(fast.sock, "rx_tail") == RING
