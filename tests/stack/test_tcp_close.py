"""Closing in every order, half-close, abort, TIME_WAIT (RFC 9293 §3.6, §3.10; RFC 1337; RFC 6191)."""

import pytest

from neat.abi import layout
from neat.stack.tcp.state import TcpState

from .harness.conn import Conn
from .harness.host import (
    EV_CLOSED,
    EV_FREED,
    EV_RDHUP,
    EV_RESET,
    OPT_LINGER,
    RECORD_FLOW_DELETE,
    RECORD_FLOW_FADES,
)

ST_RDHUP, ST_ERROR = layout.NEAT_ST_RDHUP, layout.NEAT_ST_ERROR
ST_CLOSED, ST_WRCLOSED = layout.NEAT_ST_CLOSED, layout.NEAT_ST_WRCLOSED


def assert_nothing_left(conn):
    assert conn.state == TcpState.FREE
    assert conn.lab.users == 1, "only the listener"
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0
    assert conn.counters.get("TCP_TIME_WAITING", 0) == 0


def test_active_close(conn):
    conn.established()
    conn.host.take_events()
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < . 1:1(0) ack 2
    """)
    assert conn.state == TcpState.FIN_WAIT_2
    assert conn.event_kinds == EV_FREED, "nothing is left to send: no sock is held"
    conn.run("""
      +0 < F. 1:1(0) ack 2
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.TIME_WAIT
    assert conn.lab.users == 1
    assert [kind for kind, _ in conn.host.flows] == [RECORD_FLOW_FADES]
    conn.quiet(60.1)
    assert_nothing_left(conn)
    assert [kind for kind, _ in conn.host.flows] == [RECORD_FLOW_FADES, RECORD_FLOW_DELETE]


def test_passive_close(conn):
    conn.established()
    conn.host.take_events()
    conn.run("""
      +0 < F. 1:1(0) ack 1
      +0 > . 1:1(0) ack 2
    """)
    assert conn.state == TcpState.CLOSE_WAIT
    assert conn.event_kinds & EV_RDHUP
    assert conn.lab.peek(conn.sock, "status") & ST_RDHUP
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 2")
    assert conn.state == TcpState.LAST_ACK
    conn.run("+0 < . 2:2(0) ack 2")
    assert conn.event_kinds == EV_FREED
    assert_nothing_left(conn)


def test_fin_with_text_both_ways(conn):
    conn.established()
    conn.send(100)
    conn.shutdown()
    conn.run("""
      +0 > P. 1:101(100) ack 1
      +0 > F. 101:101(0) ack 1
      +0 < FP. 1:51(50) ack 102
      +0 > . 102:102(0) ack 52
    """)
    assert len(conn.recv()) == 50
    assert conn.state == TcpState.TIME_WAIT
    assert conn.event_kinds & EV_CLOSED
    assert conn.lab.peek(conn.sock, "status") & ST_CLOSED
    conn.close()
    assert conn.lab.users == 1


def test_simultaneous_close(conn):
    """RFC 9293 §3.6 figure 13."""
    conn.established()
    conn.shutdown()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < F. 1:1(0) ack 1
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.CLOSING
    conn.run("+0 < . 2:2(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


def test_half_close(conn):
    """Our direction is over, the other goes on."""
    conn.established()
    conn.shutdown()
    conn.run("""
      +0   > F. 1:1(0) ack 1
      +0   < . 1:1(0) ack 2
      +5   < P. 1:101(100) ack 2
      +.04 > . 2:2(0) ack 101
    """)
    assert len(conn.recv()) == 100
    assert conn.state == TcpState.FIN_WAIT_2
    assert conn.lab.peek(conn.sock, "status") & ST_WRCLOSED
    conn.quiet(200)
    assert conn.state == TcpState.FIN_WAIT_2, "a half-closed connection with a descriptor lives"


def test_text_after_the_peers_fin_is_ignored(conn):
    conn.established()
    conn.run("""
      +0 < F. 1:1(0) ack 1
      +0 > . 1:1(0) ack 2
      +0 < P. 2:12(10) ack 1
    """)
    assert conn.recv() == b""
    assert conn.counters["TCP_DATA_AFTER_FIN"] == 1


def test_we_can_send_after_the_peers_fin(conn):
    conn.established()
    conn.run("+0 < F. 1:1(0) ack 1\n+0 > . 1:1(0) ack 2")
    conn.send(10)
    conn.run("+0 > P. 1:11(10) ack 2\n+0 < . 2:2(0) ack 11")
    assert conn.state == TcpState.CLOSE_WAIT


def test_close_waits_for_what_is_in_the_ring(conn):
    conn.established(win=1000)
    conn.send(2000)
    conn.close()
    conn.run("""
      +0 > . 1:1001(1000) ack 1
      +0 < . 1:1(0) ack 1001 win 1000
      +0 > P. 1001:2001(1000) ack 1
    """)
    assert conn.lab.users == 2, "the ring stays until its text is acknowledged"
    conn.run("""
      +0 < . 1:1(0) ack 2001 win 1000
      +0 > F. 2001:2001(0) ack 1
      +0 < . 1:1(0) ack 2002 win 1000
    """)
    assert conn.lab.users == 1


def test_close_with_unread_data_resets(conn):
    """RFC 9293 §3.6: the peer learns that its text was lost."""
    conn.established()
    conn.run("+0 < P. 1:101(100) ack 1")
    conn.close()
    conn.run("+0 > R. 1:1(0) ack 101")
    assert_nothing_left(conn)


def test_abort(conn):
    conn.established()
    conn.send(100)
    conn.host.take_sent()
    conn.close(abort=True)
    conn.run("+0 > R. 101:101(0) ack 1")
    assert_nothing_left(conn)


@pytest.mark.parametrize(("milliseconds", "answer"), [(0, "R."), (5000, "F.")])
def test_a_hang_up_with_linger(conn, milliseconds, answer):
    """Linux: SO_LINGER without a time resets, however the last descriptor went."""
    conn.established()
    conn.lab.poke(conn.sock, "linger_ms", milliseconds)
    conn.set_options(OPT_LINGER)
    conn.close()
    conn.run(f"+0 > {answer} 1:1(0) ack 1")


def test_text_after_close_resets(conn):
    conn.established()
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < P. 1:101(100) ack 1
      +0 > R. 2:2(0) ack 1
    """)
    assert_nothing_left(conn)


def test_text_after_close_and_ack_resets(conn):
    conn.established()
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < . 1:1(0) ack 2
      +0 < P. 1:101(100) ack 2
      +0 > R 2:2(0)
    """)
    assert_nothing_left(conn)


def test_orphan_in_fin_wait_2_times_out(conn):
    conn.established()
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 1\n+0 < . 1:1(0) ack 2")
    conn.quiet(60.1)
    assert_nothing_left(conn)
    assert conn.counters["TCP_FIN_WAIT_TIMEOUT"] == 1


def test_orphan_gives_up_its_fin(make_conn):
    conn = make_conn(max_rto_ms=1000)
    conn.established()
    conn.close()
    conn.run("+0 > F. 1:1(0) ack 1" + "\n* > F. 1:1(0) ack 1" * 8 + "\n* > R. 2:2(0) ack 1")
    assert_nothing_left(conn)


def test_close_in_syn_sent_is_silent(conn):
    conn.connect()
    conn.run("+0 > S 0:0(0)")
    conn.close()
    conn.quiet(5)
    assert conn.lab.users == 0


def test_shutdown_in_syn_rcvd_of_a_simultaneous_open(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
    """)
    conn.shutdown()
    conn.run("""
      +0 < . 1:1(0) ack 1 win 65535
      +0 > F. 1:1(0) ack 1
    """)
    assert conn.state == TcpState.FIN_WAIT_1


def time_wait(conn, options="mss 1460"):
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


def test_time_wait_acknowledges_the_fin_again_and_starts_anew(conn):
    time_wait(conn)
    conn.quiet(50)
    conn.run("+0 < F. 1:1(0) ack 2\n+0 > . 2:2(0) ack 2")
    conn.quiet(50)
    assert conn.state == TcpState.TIME_WAIT
    conn.quiet(61)
    assert conn.state == TcpState.FREE


@pytest.mark.parametrize("start", [1, 3, 1000])
def test_time_wait_ignores_an_inexact_rst(conn, start):
    """RFC 5961 §3.2; and as RFC 1337 §3 has it, without a word."""
    time_wait(conn)
    conn.run(f"+0 < R. {start}:{start}(0) ack 2")
    assert conn.state == TcpState.TIME_WAIT


def test_time_wait_answers_old_segments_but_not_for_ever(conn):
    time_wait(conn)
    conn.run("+0 < P. 1:11(10) ack 2\n+0 > . 2:2(0) ack 2")
    for _ in range(20):
        conn.run("+0 < . 1:1(0) ack 2")


def test_time_wait_yields_to_a_new_syn(conn):
    """RFC 9293 §3.6.1: a SYN beyond the last sequence number opens anew, with an ISN beyond ours."""
    time_wait(conn)
    old = conn.iss
    conn.run("""
      +1 < S 1000:1000(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1001
      +0 < . 1001:1001(0) ack 1 win 65535
    """)
    assert 2 < (conn.iss - old) % 2**32 < 2**31
    conn.accept()
    assert conn.counters["TCP_TIME_WAIT_REUSED"] == 1
    assert conn.lab.conn_info(conn.index)["state"] == TcpState.ESTABLISHED


def test_time_wait_rejects_an_old_syn(conn):
    time_wait(conn)
    conn.run("""
      +1 < S 0:0(0) win 65535 <mss 1460>
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.TIME_WAIT


def test_time_wait_yields_to_a_newer_timestamp(conn):
    """RFC 6191 §2: whatever the sequence number."""
    time_wait(conn, options="mss 1460,TS val 100 ecr 0")
    conn.run("""
      +1 < S 0:0(0) win 65535 <mss 1460,TS val 300 ecr 0>
      +0 > S. 0:0(0) ack 1
    """)


def test_time_wait_of_an_active_open(conn):
    conn.connected()
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < F. 1:1(0) ack 2
      +0 > . 2:2(0) ack 2
    """)
    assert conn.state == TcpState.TIME_WAIT
    assert conn.lab.users == 0


def test_oldest_time_wait_makes_room():
    """Four times as many as there are slots; then the first one goes."""
    first = None
    for i in range(12):
        conn = Conn(1000, host=first and first.host, port=40000 + i, max_connections=2)
        first = first or conn
        if conn is first:
            conn.listen()
        conn.run("""
          +0 < S 0:0(0) win 65535 <mss 1460>
          +0 > S. 0:0(0) ack 1
          +0 < . 1:1(0) ack 1 win 65535
        """)
        conn.accept()
        conn.close()
        conn.run("""
          +0 > F. 1:1(0) ack 1
          +0 < F. 1:1(0) ack 2
          +0 > . 2:2(0) ack 2
        """)
    assert first.counters["TCP_TIME_WAITING"] == 8
    assert first.counters["TCP_TIME_WAIT_RECYCLED"] == 4
    assert first.state == TcpState.FREE


def test_reset_ends_it(conn):
    conn.established()
    conn.host.take_events()
    conn.run("+0 < R 1:1(0)")
    (event,) = conn.host.take_events()
    assert event.kinds == EV_RESET
    assert conn.lab.peek(conn.sock, "status") & (ST_ERROR | ST_CLOSED) == ST_ERROR | ST_CLOSED
    conn.close()
    assert_nothing_left(conn)


def test_sock_is_reused_with_another_generation(conn):
    conn.established()
    sock, generation = conn.sock, conn.lab.peek(conn.sock, "generation")
    conn.close(abort=True)
    conn.host.take_sent()
    assert conn.lab.peek(sock, "generation") == generation + 1
    other = Conn(5000, host=conn.host, port=41000)
    other.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:1(0) ack 1 win 65535
    """)
    other.accept()
    assert (other.sock, other.lab.peek(sock, "generation")) == (sock, generation + 2)


def test_freed_says_how_much_memory_was_touched(conn):
    conn.established()
    conn.run("+0 < P. 1:1001(1000) ack 1")
    conn.recv()
    conn.run("+.04 > . 1:1(0) ack 1001")
    conn.host.take_events()
    conn.close(abort=True)
    conn.host.take_sent()
    (event,) = conn.host.take_events()
    assert (event.kinds, event.touched) == (EV_FREED, 1000)


def touched_of(conn) -> int:
    """What EV_FREED says of a connection that its application closes now."""
    conn.host.take_events()
    conn.close(abort=True)
    conn.host.take_sent()
    (event,) = conn.host.take_events()
    assert event.kinds == EV_FREED
    return event.touched


def test_text_that_the_peer_never_took_was_touched(conn):
    """A peer with a closed window that resets the connection: what was queued for it is memory, too."""
    conn.established(win=0)
    conn.send(50_000)
    conn.run("+0 < R 1:1(0)")
    assert conn.state == TcpState.CLOSED
    assert touched_of(conn) == 50_000


def test_text_that_the_engine_never_looked_at_was_touched(conn):
    conn.established(win=0)
    conn.run("+0 < R 1:1(0)")
    conn.lab.send(conn.sock, bytes(40_000))
    assert touched_of(conn) == 40_000


def test_text_out_of_order_was_touched(conn):
    conn.established()
    conn.run("""
      +0 < . 20001:21001(1000) ack 1
      +0 > . 1:1(0) ack 1
      +0 < . 10001:11001(1000) ack 1
      +0 > . 1:1(0) ack 1
    """)
    assert touched_of(conn) == 21_000


def test_nonsense_about_what_was_written_is_at_most_the_ring(conn):
    conn.established()
    conn.lab.poke(conn.sock, "tx_tail", 2**63)
    conn.settle()
    conn.host.take_sent()
    assert touched_of(conn) == 1 << 16
