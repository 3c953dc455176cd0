"""Loss: the retransmission timer (RFC 6298), fast retransmit and recovery (RFC 5681, 6582, 3042)."""

import errno

import pytest

from neat.stack.tcp.state import TcpState

from .harness.host import EV_RESET


def test_timer_backs_off(conn):
    conn.established()
    conn.send(100)
    conn.run("""
      +0   > P. 1:101(100) ack 1
      +.2  > P. 1:101(100) ack 1
      +.4  > P. 1:101(100) ack 1
      +.8  > P. 1:101(100) ack 1
      +1.6 > P. 1:101(100) ack 1
      +0   < . 1:1(0) ack 101
    """)
    assert conn.info["rto_us"] == 3_200_000, "RFC 6298 §5: it stays until there is a sample"
    conn.send(100)
    conn.run("""
      +0   > P. 101:201(100) ack 1
      +.01 < . 1:1(0) ack 201
    """)
    conn.send(100)
    conn.run("""
      +0   > P. 201:301(100) ack 1
      +.2  > P. 201:301(100) ack 1
      +0   < . 1:1(0) ack 301
    """)
    assert conn.info["retransmits"] == 5


def test_karn(conn):
    """RFC 6298 §3: no sample from what was retransmitted."""
    conn.established()
    conn.send(100)
    conn.run("""
      +0   > P. 1:101(100) ack 1
      +.2  > P. 1:101(100) ack 1
      +.01 < . 1:1(0) ack 101
    """)
    assert conn.info["srtt_us"] < 10_000


def test_rto_follows_the_round_trip(conn):
    """RFC 6298 §2.2, §2.3: RTO = SRTT + 4 * RTTVAR."""
    conn.listen()
    conn.run("""
      +0  < S 0:0(0) win 65535 <mss 1460>
      +0  > S. 0:0(0) ack 1
      +.3 < . 1:1(0) ack 1 win 65535
    """)
    conn.accept()
    assert conn.info["srtt_us"] == pytest.approx(300_000, rel=0.01)
    assert conn.info["rto_us"] == pytest.approx(900_000, rel=0.01)
    conn.send(100)
    conn.run("""
      +0  > P. 1:101(100) ack 1
      +.9 > P. 1:101(100) ack 1
      +0  < . 1:1(0) ack 101
    """)


def test_timeout_goes_back_to_the_first_hole(conn):
    conn.established()
    conn.send(4380)
    conn.run("""
      +0  > . 1:1461(1460) ack 1
      +0  > . 1461:2921(1460) ack 1
      +0  > P. 2921:4381(1460) ack 1
      +.2 > . 1:1461(1460) ack 1
      +0  < . 1:1(0) ack 1461
      +0  > . 1461:2921(1460) ack 1
      +0  > P. 2921:4381(1460) ack 1
      +0  < . 1:1(0) ack 4381
    """)
    conn.quiet(5)


def test_gives_up(make_conn):
    conn = make_conn(data_retries=3)
    conn.established()
    conn.host.take_events()
    conn.send(100)
    conn.run("""
      +0   > P. 1:101(100) ack 1
      +.2  > P. 1:101(100) ack 1
      +.4  > P. 1:101(100) ack 1
      +.8  > P. 1:101(100) ack 1
      +1.6 > R. 101:101(0) ack 1
    """)
    (event,) = conn.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, errno.ETIMEDOUT)
    assert conn.state == TcpState.CLOSED


def sending(conn, segments=10):
    """Ten segments in flight."""
    conn.established()
    conn.send(1460 * segments)
    conn.run("\n".join(f"+0 > . {1 + 1460 * i}:{1461 + 1460 * i}(1460) ack 1" for i in range(segments)))


def test_fast_retransmit_and_full_recovery(conn):
    """RFC 6582 §3.2: third duplicate: ssthresh = flight / 2, the first segment again."""
    sending(conn)
    conn.run("""
      +.01 < . 1:1(0) ack 1
      +0   < . 1:1(0) ack 1
      +0   < . 1:1(0) ack 1
      +0   > . 1:1461(1460) ack 1
    """)
    assert conn.info["ssthresh"] == 7300
    assert conn.info["cwnd"] == 7300 + 3 * 1460
    conn.run("+0 < . 1:1(0) ack 14601")
    assert conn.info["cwnd"] <= 7300
    assert conn.counters["TCP_FAST_RETRANSMITS"] == 1


def test_partial_ack_retransmits_the_next_hole(conn):
    """RFC 6582 §3.2 step 3, "Partial acknowledgments"."""
    sending(conn)
    conn.run("""
      +.01 < . 1:1(0) ack 1
      +0   < . 1:1(0) ack 1
      +0   < . 1:1(0) ack 1
      +0   > . 1:1461(1460) ack 1
      +.01 < . 1:1(0) ack 4381
      +0   > . 4381:5841(1460) ack 1
      +.01 < . 1:1(0) ack 14601
    """)
    conn.quiet(1)


def test_limited_transmit(conn):
    """RFC 3042: a new segment for each of the first two duplicate ACKs."""
    sending(conn)
    conn.send(1460 * 5)
    conn.run("""
      +.01 < . 1:1(0) ack 1
      +0   > . 14601:16061(1460) ack 1
      +0   < . 1:1(0) ack 1
      +0   > . 16061:17521(1460) ack 1
      +0   < . 1:1(0) ack 1
      +0   > . 1:1461(1460) ack 1
    """)


def test_inflation_lets_new_text_go(conn):
    sending(conn)
    conn.send(1460 * 2)
    conn.run("""
      +.01 < . 1:1(0) ack 1
      +0   > . 14601:16061(1460) ack 1
      +0   < . 1:1(0) ack 1
      +0   > P. 16061:17521(1460) ack 1
      +0   < . 1:1(0) ack 1
      +0   > . 1:1461(1460) ack 1
    """)
    conn.send(1460)
    for _ in range(4):
        conn.run("+0 < . 1:1(0) ack 1")
    conn.run("+0 < . 1:1(0) ack 1\n+0 > P. 17521:18981(1460) ack 1")


@pytest.mark.parametrize("line", ["+0 < . 1:1(0) ack 1 win 60000", "+0 < P. 1:2(1) ack 1"])
def test_window_updates_and_text_are_no_duplicates(conn, line):
    sending(conn)
    for i in range(5):
        conn.inject(
            __import__("tests.stack.harness.notation", fromlist=["parse"]).parse(
                line.replace("60000", str(60000 - i))
            )[0]
        )
    assert "TCP_FAST_RETRANSMITS" not in conn.counters


def test_initial_window(conn):
    """RFC 6928: ten segments."""
    conn.established()
    conn.send(30_000)
    conn.run("\n".join(f"+0 > . {1 + 1460 * i}:{1461 + 1460 * i}(1460) ack 1" for i in range(10)))


def test_slow_start(conn):
    sending(conn)
    conn.send(50_000)
    conn.run(
        "+.01 < . 1:1(0) ack 2921\n"
        + "\n".join(f"+0 > . {14601 + 1460 * i}:{16061 + 1460 * i}(1460) ack 1" for i in range(4))
    )
    assert conn.info["cwnd"] == 12 * 1460


def test_timeout_collapses_the_window(conn):
    sending(conn)
    conn.run("+.2 > . 1:1461(1460) ack 1")
    assert conn.info["cwnd"] == 1460
    assert conn.info["ssthresh"] == 7300


def test_window_restarts_after_idleness(conn):
    """RFC 5681 §4.1: "RW = min(IW,cwnd)"."""
    sending(conn)
    conn.run("+.01 < . 1:1(0) ack 14601")
    assert conn.info["cwnd"] == 20 * 1460
    conn.quiet(10)
    conn.send(50_000)
    conn.host.take_sent()
    assert conn.info["cwnd"] == 10 * 1460


def test_fin_is_retransmitted(conn):
    conn.established()
    conn.shutdown()
    conn.run("""
      +0  > F. 1:1(0) ack 1
      +.2 > F. 1:1(0) ack 1
      +.4 > F. 1:1(0) ack 1
      +0  < . 1:1(0) ack 2
    """)
    assert conn.state == TcpState.FIN_WAIT_2


def test_timestamps_measure_after_a_loss(conn):
    conn.established(options="mss 1460,TS val 100 ecr 0")
    conn.send(100)
    conn.run("""
      +0   > P. 1:101(100) ack 1
      +.2  > P. 1:101(100) ack 1
      +.05 < . 1:1(0) ack 101 <nop,nop,TS val 200 ecr last>
    """)
    assert conn.info["srtt_us"] > 5_000


def test_fragmentation_needed_lowers_the_mss(conn):
    """RFC 1191: the segment goes out again, in smaller pieces."""
    conn.established()
    conn.send(1460)
    conn.run("""
      +0 > P. 1:1461(1460) ack 1
      +0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]
      +0 > . 1:1161(1160) ack 1
      +0 > P. 1161:1461(300) ack 1
    """)
