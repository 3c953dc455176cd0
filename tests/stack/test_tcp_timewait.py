"""TIME-WAIT and a new SYN for the same two ends (RFC 9293 §3.10.7.4, RFC 6191)."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import LISTENER_SOCK, Conn

OPTIONS = "mss 1460,TS val 100 ecr 0"


def time_wait(conn: Conn, options: str = "mss 1460") -> None:
    conn.established(options=options)
    stamp = "<nop,nop,TS val 200 ecr last>" if "TS" in options else ""
    conn.close()
    conn.run(f"""
      +0 > F. 1:1(0) ack 1
      +0 < F. 1:1(0) ack 2 {stamp}
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.TIME_WAIT
    conn.host.take_events()


def test_syn_that_nobody_wants_leaves_time_wait_alone(conn):
    """No listener: what protects the old connection's last segments stays."""
    time_wait(conn)
    conn.lab.unlisten(LISTENER_SOCK)
    conn.run("+1 < S 1000:1000(0) win 65535 <mss 1460>\n+0 > . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


def test_syn_without_room_in_the_backlog_leaves_time_wait_alone(conn):
    time_wait(conn)
    conn.lab.set_backlog(LISTENER_SOCK, 0)
    other = Conn(5000, host=conn.host, port=40_001)
    other.run("+0 < S 0:0(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 1")
    conn.run("+.5 < S 1000:1000(0) win 65535 <mss 1460>\n+0 > . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


@pytest.mark.parametrize("flags", ["SF", "SR", "SFR"])
def test_impossible_syns_leave_time_wait_alone(conn, flags):
    time_wait(conn)
    conn.run(
        f"+1 < {flags} 1000:1000(0) win 65535 <mss 1460>" + ("" if "R" in flags else "\n+0 > . 2:2(0) ack 2")
    )
    assert conn.state == TcpState.TIME_WAIT


@pytest.mark.parametrize(
    ("value", "start", "taken"),
    [
        (300, 0, True),  # newer time, old sequence number
        (200, 1000, True),  # same time: the sequence number decides
        (200, 1, False),
        (150, 1000, False),  # older time: never
        (200 + 2**31 - 1, 0, True),
        (200 + 2**31 + 1, 0, False),
    ],
)
def test_timestamp_of_the_new_syn_decides(conn, value, start, taken):
    """RFC 6191 §2"""
    time_wait(conn, OPTIONS)
    conn.run(
        f"+1 < S {start}:{start}(0) win 65535 <mss 1460,TS val {value} ecr 0>\n"
        + (f"+0 > S. 0:0(0) ack {start + 1}" if taken else "+0 > . 2:2(0) ack 2")
    )


def test_syn_without_the_timestamp_is_judged_by_its_number(conn):
    time_wait(conn, OPTIONS)
    conn.run("+1 < S 1:1(0) win 65535 <mss 1460>\n+0 > . 2:2(0) ack 2")
    conn.run("+1 < S 3:3(0) win 65535 <mss 1460>\n+0 > S. 0:0(0) ack 4")
