"""TIME-WAIT and a new SYN for the same two ends (RFC 9293 §3.10.7.4, RFC 6191)."""

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import LISTENER_SOCK, Conn
from .harness.frames import ACK, RST
from .harness.host import RECORD_FLOW_ADD, RECORD_FLOW_DELETE, RECORD_FLOW_FADES, Host
from .harness.notation import parse

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


def answer_of(conn: Conn) -> tuple[int, int]:
    """Flags and ACK of the one segment that was sent."""
    (sent,) = conn.host.take_sent()
    return sent.packet.segment.flags, (sent.packet.segment.ack - conn.irs) % 2**32


@pytest.mark.parametrize("options", ["mss 1460", OPTIONS])
def test_a_client_whose_server_is_gone_is_refused(conn, options):
    """It uses the port again. Its SYN draws an ACK, which it answers by an exact RST, as its SYN-SENT has to
    (RFC 9293 §3.10.7.3): as on Linux, that ends TIME-WAIT, and the next SYN is refused."""
    time_wait(conn, options)
    conn.lab.unlisten(LISTENER_SOCK)
    conn.run("""
      +1 < S 70000:70000(0) win 65535 <mss 1460>
      +0 > . 2:2(0) ack 2
      +0 < R 2:2(0)
    """)
    assert conn.state == TcpState.FREE
    assert [kind for kind, _ in conn.host.flows][-1] == RECORD_FLOW_DELETE
    conn.quiet(1)
    conn.inject(parse("+0 < S 70000:70000(0) win 65535 <mss 1460>")[0])
    assert answer_of(conn) == (RST | ACK, 70001)


def test_an_old_duplicate_does_not_start_time_wait_anew(conn):
    """RFC 7323 §5.3: PAWS goes before all else, also for a FIN that is where it should be."""
    time_wait(conn, OPTIONS)
    conn.quiet(50)
    conn.run("""
      +0 < F. 1:1(0) ack 2 <nop,nop,TS val 150 ecr last>
      +0 > . 2:2(0) ack 2
    """)
    assert conn.counters["TCP_PAWS"] == 1
    conn.quiet(11)
    assert conn.state == TcpState.FREE


def test_a_rst_with_an_old_timestamp_counts(conn):
    """RFC 7323 §5.2: RSTs are "acceptable regardless of their timestamp"."""
    time_wait(conn, OPTIONS)
    conn.run("+0 < R 2:2(0) <nop,nop,TS val 1 ecr 0>")
    assert conn.state == TcpState.FREE


def heir_of(conn: Conn, **settings) -> Host:
    """Another replica's engine, at the same time."""
    heir = Host(**settings)
    heir.lab.now = conn.lab.now
    heir.turn()
    heir.flows.clear()
    return heir


def test_another_engine_goes_on_with_a_time_wait(conn):
    time_wait(conn, OPTIONS)
    heir = heir_of(conn)
    assert heir.lab.adopt(conn.lab) == 1
    heir.turn()
    assert heir.lab.waiting() == conn.lab.waiting()
    assert [kind for kind, _ in heir.flows] == [RECORD_FLOW_ADD, RECORD_FLOW_FADES]
    there = Conn(conn.irs, host=heir, port=conn.port)
    there.iss, there.last_tsval = conn.iss, conn.last_tsval
    there.run("+1 < F. 1:1(0) ack 2 <nop,nop,TS val 201 ecr last>\n+0 > . 2:2(0) ack 2")
    heir.run_for(59)
    assert len(heir.lab.waiting()) == 1  # a whole 2 MSL from then on
    heir.run_for(2)
    assert heir.lab.waiting() == []
    assert heir.flows[-1][0] == RECORD_FLOW_DELETE
    assert heir.lab.counters().get("TCP_TIME_WAITING", 0) == 0


def test_what_is_adopted_twice_is_said_twice_and_there_once(conn):
    """The first heir, or his word for it, died in between."""
    time_wait(conn)
    heir = heir_of(conn)
    for _ in range(2):
        assert heir.lab.adopt(conn.lab) == 1
    heir.turn()
    assert len(heir.lab.waiting()) == 1
    assert heir.lab.counters()["TCP_TIME_WAITS_ADOPTED"] == 1
    assert [kind for kind, _ in heir.flows] == [RECORD_FLOW_ADD, RECORD_FLOW_FADES] * 2
    heir.lab.crash()
    heir.turn()
    assert len(heir.lab.waiting()) == 1


def test_an_entry_that_makes_no_sense_is_not_adopted(conn):
    """FIN-WAIT-2, nonsense, and what an heir of another address cannot have."""
    conn.established()
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 1\n+0 < . 1:1(0) ack 2")
    assert conn.counters["TCP_FIN_WAITING"] == 1
    heir = heir_of(conn)
    assert heir.lab.adopt(conn.lab) == 1
    conn.run("+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")
    assert conn.counters.get("TCP_FIN_WAITING", 0) == 0
    other = heir_of(conn, address="10.77.0.3")
    assert other.lab.adopt(conn.lab) == 1
    for engine in (heir, other):
        engine.turn()
        assert engine.lab.waiting() == [] and engine.flows == []


def test_who_has_no_room_for_more_adopts_in_parts(conn):
    """The oldest make room, and the driver hears of all that are there."""
    conn.listen()
    for n in range(20):
        one = Conn(5000, host=conn.host, port=43_000 + n)
        one.run("""
          +0 < S 0:0(0) win 65535 <mss 1460>
          +0 > S. 0:0(0) ack 1 <...>
          +0 < . 1:1(0) ack 1 win 65535
        """)
        one.accept()
        one.close()
        one.run("+0 > F. 1:1(0) ack 1\n+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")
    heir = heir_of(conn, max_connections=2)
    assert heir.lab.adopt(conn.lab) == 20
    heir.turn()
    assert len(heir.lab.waiting()) == 8
    assert heir.lab.counters()["TCP_TIME_WAIT_RECYCLED"] == 12
