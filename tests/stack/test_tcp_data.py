"""Text both ways: segments, PSH, Nagle, cork, delayed ACKs, offloads (RFC 9293 §3.7.4, RFC 5681 §4.2)."""

import pytest

from .harness.conn import pattern
from .harness.frames import TCP, ethernet, ipv4, tcp
from .harness.host import EV_READABLE, OPT_CORK, OPT_NODELAY, OPT_QUICKACK
from .harness.notation import parse

CSUM, TSO = 1, 2


def test_send_and_acknowledge(conn):
    conn.established()
    conn.send(3000)
    conn.run("""
      +0 > . 1:1461(1460) ack 1
      +0 > . 1461:2921(1460) ack 1
      +0 > P. 2921:3001(80) ack 1
      +0 < . 1:1(0) ack 3001
    """)
    assert conn.lab.peek(conn.sock, "tx_head") == 3000


def test_receive(conn):
    conn.established()
    conn.host.take_events()
    conn.run("+0 < P. 1:101(100) ack 1")
    assert conn.event_kinds == EV_READABLE
    assert len(conn.recv()) == 100
    conn.run("+.04 > . 1:1(0) ack 101")


def test_ack_rides_on_the_answer(conn):
    conn.established()
    conn.run("+0 < P. 1:101(100) ack 1")
    conn.send(50)
    conn.run("+0 > P. 1:51(50) ack 101")
    conn.run("+.01 < . 101:101(0) ack 51")
    conn.quiet(1)


def test_every_second_full_segment_is_acknowledged(conn):
    conn.established()
    conn.run("""
      +0 < . 1:1461(1460) ack 1
      +0 < . 1461:2921(1460) ack 1
      +0 > . 1:1(0) ack 2921
      +0 < . 2921:4381(1460) ack 1
      +0 < . 4381:5841(1460) ack 1
      +0 > . 1:1(0) ack 5841
      +0 < . 5841:7301(1460) ack 1
      +.04 > . 1:1(0) ack 7301
    """)


def test_merged_frame_is_acknowledged_at_once(conn):
    conn.established()
    conn.vnet = {
        "gso_type": 1,
        "gso_size": 1460,
        "flags": 1,
        "csum_start": 34,
        "csum_offset": 16,
        "hdr_len": 54,
    }
    conn.run("""
      +0 < P. 1:14601(14600) ack 1
      +0 > . 1:1(0) ack 14601
    """)
    assert len(conn.recv()) == 14600


def test_quickack(conn):
    conn.established()
    conn.set_options(OPT_QUICKACK)
    conn.run("""
      +0 < P. 1:2(1) ack 1
      +0 > . 1:1(0) ack 2
    """)


def test_no_delay_at_zero(make_conn):
    conn = make_conn(delayed_ack_ms=0)
    conn.established()
    conn.run("""
      +0 < P. 1:2(1) ack 1
      +0 > . 1:1(0) ack 2
    """)


def test_nagle_holds_the_second_small_segment(conn):
    conn.established()
    conn.send(10)
    conn.send(10)
    conn.send(10)
    conn.run("""
      +0  > P. 1:11(10) ack 1
      +.1 < . 1:1(0) ack 11
      +0  > P. 11:31(20) ack 1
    """)


def test_nagle_lets_the_tail_of_a_large_write_go(conn):
    """Minshall: no small segment is under way, so the tail need not wait for the full ones before it."""
    conn.established()
    conn.send(1500)
    conn.run("""
      +0 > . 1:1461(1460) ack 1
      +0 > P. 1461:1501(40) ack 1
    """)


def test_nodelay(conn):
    conn.established()
    conn.set_options(OPT_NODELAY)
    conn.send(10)
    conn.send(10)
    conn.run("""
      +0 > P. 1:11(10) ack 1
      +0 > P. 11:21(10) ack 1
    """)


def test_cork_holds_what_is_no_full_segment(conn):
    conn.established()
    conn.set_options(OPT_CORK)
    conn.send(100)
    conn.quiet(0.1)
    conn.send(1400)
    conn.run("+0 > . 1:1461(1460) ack 1")
    conn.set_options(0)
    conn.run("+0 > P. 1461:1501(40) ack 1")


def test_cork_ends_after_200_ms(conn):
    """tcp(7): "there is a 200 millisecond ceiling on the time for which output is corked"."""
    conn.established()
    conn.set_options(OPT_CORK)
    conn.send(100)
    conn.run("+.2 > P. 1:101(100) ack 1")


def set_nodelay(conn) -> None:
    """setsockopt(TCP_NODELAY): what is in the ring now is to be sent now."""
    conn.lab.poke(conn.sock, "push_tail", len(conn.written))
    conn.lab.poke(conn.sock, "options", conn.lab.peek(conn.sock, "options") | OPT_NODELAY)
    conn.settle()


def test_nodelay_flushes_a_cork_once(conn):
    """tcp(7): "setting this option forces an explicit flush of pending output, even if TCP_CORK is currently
    set"; what comes after that is held back again (Linux's TCP_NAGLE_PUSH)."""
    conn.established()
    conn.set_options(OPT_CORK)
    conn.send(100)
    conn.quiet(0.1)
    set_nodelay(conn)
    conn.run("+0 > P. 1:101(100) ack 1\n+0 < . 1:1(0) ack 101")
    conn.send(50)
    conn.quiet(0.1)
    set_nodelay(conn)
    conn.run("+0 > P. 101:151(50) ack 1\n+0 < . 1:1(0) ack 151")
    conn.send(25)
    conn.run("+.2 > P. 151:176(25) ack 1")


def test_nodelay_flushes_no_more_than_what_was_there(conn):
    """The engine sees it together with what was written after it."""
    conn.established()
    conn.set_options(OPT_CORK)
    conn.written += pattern(0, 1600)
    conn.lab.send(conn.sock, conn.written)
    conn.lab.poke(conn.sock, "push_tail", 1500)
    conn.settle()
    conn.run("""
      +0  > . 1:1461(1460) ack 1
      +0  > P. 1461:1501(40) ack 1
      +0  < . 1:1(0) ack 1501
      +.2 > P. 1501:1601(100) ack 1
    """)


def test_nodelay_flushes_what_a_window_held_when_it_opens(conn):
    conn.established(win=50)
    conn.set_options(OPT_CORK)
    conn.send(100)
    set_nodelay(conn)
    conn.run("""
      +0 > . 1:51(50) ack 1
      +0 < . 1:1(0) ack 51 win 1000
      +0 > P. 51:101(50) ack 1
    """)


@pytest.mark.parametrize("place", [2**64 - 1, 5000, 0])
def test_a_flush_of_nonsense(conn, place):
    """More than there is: what there is."""
    conn.established()
    conn.set_options(OPT_CORK)
    conn.lab.poke(conn.sock, "push_tail", place)
    conn.settle()
    conn.send(100)
    conn.run(f"+{0 if place else 0.2} > P. 1:101(100) ack 1")


def test_fin_pushes_what_nagle_holds(conn):
    conn.established()
    conn.send(10)
    conn.send(10)
    conn.shutdown()
    conn.run("""
      +0 > P. 1:11(10) ack 1
      +0 > FP. 11:21(10) ack 1
    """)


@pytest.mark.parametrize("offloads", [CSUM, CSUM | TSO, TSO])
def test_offloads(make_conn, offloads):
    """The harness cuts what the device would cut and checks every checksum."""
    conn = make_conn(offloads=offloads)
    conn.established(win=65535)
    conn.send(14600)
    if offloads & TSO:
        conn.run("+0 > P. 1:14601(14600) ack 1")
    else:
        conn.run("\n".join(f"+0 > . {1 + 1460 * i}:{1461 + 1460 * i}(1460) ack 1" for i in range(10)))


def test_large_frames_are_whole_segments(make_conn):
    """What remains of the window is no reason to end a large frame in the middle of a segment."""
    conn = make_conn(offloads=CSUM | TSO)
    conn.established(win=5000)
    conn.send(20000)
    conn.run("""
      +0 > . 1:4381(4380) ack 1
      +0 < . 1:1(0) ack 4381 win 10000
      +0 > . 4381:13141(8760) ack 1
    """)


def test_largest_frame_fits_into_ip(make_conn):
    conn = make_conn(offloads=CSUM | TSO, tx_size=1 << 20)
    conn.established(win=65535, options="mss 1460,wscale 7,TS val 100 ecr 0")
    conn.send(1 << 20)
    largest = 0
    acked = 1
    while acked < 600_000:
        sent = conn.host.take_sent()
        acked += sum(len(one.packet.segment.payload) for one in sent)
        largest = max(largest, *(len(one.record) for one in sent))
        conn.inject(parse(f"+0 < . 1:1(0) ack {acked} win 65535 <nop,nop,TS val 200 ecr last>")[0])
    assert 60_000 < largest <= 10 + 14 + 65535


def test_bad_checksum_is_dropped(conn):
    conn.established()
    frame = bytearray(
        ethernet(ipv4(tcp(conn.port, 80, conn.irs + 1, conn.iss + 1, 16, 1000, b"", b"hello"), TCP))
    )
    frame[-1] ^= 1
    conn.host.arrive(bytes(frame))
    assert conn.counters["TCP_BAD_CHECKSUM"] == 1
    assert conn.recv() == b""


def test_urgent_data_is_read_as_part_of_the_stream(conn):
    conn.established()
    conn.run("+0 < PU. 1:11(10) ack 1 urg 5")
    assert len(conn.recv()) == 10
    assert conn.counters["TCP_URGENT_IGNORED"] == 1
    conn.run("+.04 > . 1:1(0) ack 11")


def test_ring_wraps(conn):
    """More text than the rings hold, in pieces that do not divide them."""
    conn.established()
    total = 1
    for _ in range(150):
        conn.send(1001)
        conn.run(f"""
          +0 > P. {total}:{total + 1001}(1001) ack {total}
          +0 < P. {total}:{total + 1001}(1001) ack {total + 1001}
        """)
        total += 1001
        assert conn.recv() == pattern(total - 1002, 1001)
        conn.run(f"+.04 > . {total}:{total}(0) ack {total}")


def test_timestamps_are_echoed(conn):
    conn.established(options="mss 1460,TS val 100 ecr 0")
    conn.run("""
      +0   < P. 1:11(10) ack 1 <nop,nop,TS val 150 ecr last>
      +.04 > . 1:1(0) ack 11 <nop,nop,TS val * ecr 150>
    """)


def test_segment_without_negotiated_timestamp_is_taken(conn):
    """Deviates from RFC 7323 §3.2, as Linux does."""
    conn.established(options="mss 1460,TS val 100 ecr 0")
    conn.run("""
      +0   < P. 1:11(10) ack 1
      +.04 > . 1:1(0) ack 11 <nop,nop,TS val * ecr 100>
    """)
    assert conn.counters["TCP_NO_TIMESTAMP"] == 1


def test_paws_drops_an_old_duplicate(conn):
    """RFC 7323 §5.3 R1: SEG.TSval < TS.Recent is not acceptable; "Send an acknowledgment in reply"."""
    conn.established(options="mss 1460,TS val 100 ecr 0")
    conn.run("""
      +0   < P. 1:11(10) ack 1 <nop,nop,TS val 99 ecr last>
      +0   > . 1:1(0) ack 1
      +0   < P. 1:11(10) ack 1 <nop,nop,TS val 100 ecr last>
      +.04 > . 1:1(0) ack 11
    """)
    assert conn.counters["TCP_PAWS"] == 1
