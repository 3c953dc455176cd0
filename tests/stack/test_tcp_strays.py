"""Segments that nobody sane sends: strange flags, strange places (RFC 9293 §3.10.7)."""

import errno

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import Conn
from .harness.host import EV_RESET, OPT_KEEPALIVE
from .harness.notation import parse


@pytest.mark.parametrize("flags", ["-", "F", "P", "FPU"])
def test_a_listener_says_nothing_to_what_is_neither_syn_nor_ack(conn, flags):
    """RFC 9293 §3.10.7.2, "Any other control or text-bearing segment": "drop the segment, and return"."""
    conn.listen()
    conn.run(f"+0 < {flags} 5:5(0)\n+0 < {flags} 5:15(10)")
    assert conn.counters["TCP_NO_ACK"] == 2


@pytest.mark.parametrize("flags", ["SF", "SFPU", "SR", "SFR", "SFRPUEW"])
def test_a_listener_drops_impossible_syns(conn, flags):
    """No connection begins and ends at once; as Linux does, these are dropped."""
    conn.listen()
    conn.run(f"+0 < {flags} 0:0(0) win 65535 <mss 1460>")
    assert not conn.counters.get("TCP_CONNECTIONS")


def test_ecn_setup_syn_opens_a_connection_without_ecn(conn):
    """RFC 3168 §6.1.1: the flags are answered by a SYN-ACK without ECE."""
    conn.listen()
    conn.run("""
      +0 < SEW 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:1(0) ack 1 win 65535
    """)
    conn.accept()


def test_text_and_fin_on_a_syn_are_not_acknowledged(conn):
    """RFC 9293 §3.10.7.2 lets us leave them to be sent again."""
    conn.listen()
    conn.run("""
      +0 < S 0:100(100) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:101(100) ack 1 win 65535
    """)
    conn.accept()
    assert len(conn.recv()) == 100
    conn.run("+.04 > . 1:1(0) ack 101")


@pytest.mark.parametrize("flags", ["-", "S", "F", "P", "U", "SF", "SFPU", "FPU", "SR", "SFRPUEW", "SFRP.UEW"])
def test_any_flags_at_an_established_connection(conn, flags):
    """Nothing but an exact RST or a FIN with ACK moves it."""
    conn.established()
    ack = " ack 1" if "." in flags else ""
    conn.inject(parse(f"+0 < {flags} 101:101(0){ack} win 65535")[0])
    assert all(s.packet.segment.flags == 0x10 for s in conn.host.take_sent())
    assert conn.state == TcpState.ESTABLISHED


def test_what_is_refused_does_not_count_as_a_sign_of_life(conn):
    """Strays of anybody do not hide from keepalive that the peer is gone."""
    conn.established()
    conn.lab.poke(conn.sock, "keep_idle_s", 10)
    conn.lab.poke(conn.sock, "keep_intvl_s", 5)
    conn.lab.poke(conn.sock, "keep_cnt", 2)
    conn.set_options(OPT_KEEPALIVE)
    conn.host.take_events()
    conn.run("""
      +5 < . 100000:100000(0) ack 1
      +0 > . 1:1(0) ack 1
      +5 > . 0:0(0) ack 1
      +1 < . 100000:100000(0) ack 1
      +0 > . 1:1(0) ack 1
      +4 > . 0:0(0) ack 1
      +1 < - 1:1(0)
      +4 > R. 1:1(0) ack 1
    """)
    (event,) = conn.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, errno.ETIMEDOUT)


@pytest.mark.parametrize("flags", ["SR", "SR."])
def test_rst_with_syn_is_not_taken_for_the_syn_again(conn, flags):
    """In SYN-RECEIVED: neither answered by another SYN-ACK nor moved on to RCV.NXT, where it would reset."""
    conn.listen()
    ack = " ack 1" if "." in flags else ""
    conn.run(f"""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < {flags} 0:0(0){ack} win 65535
      +0 < . 1:1(0) ack 1 win 65535
    """)
    conn.accept()


def test_window_of_a_syn_ack_in_a_simultaneous_open_is_not_scaled(conn):
    """RFC 7323 §2.2: "The window field in a segment where the SYN bit is set [...] MUST NOT be scaled"."""
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < S 0:0(0) win 2048 <mss 1460,nop,wscale 7>
      +0 > S. 0:0(0) ack 1
      +0 < S. 0:0(0) ack 1 win 2048 <mss 1460,nop,wscale 7>
    """)
    assert conn.state == TcpState.ESTABLISHED
    assert conn.info["snd_wnd"] == 2048
    conn.send(5000)
    conn.run("+0 > . 1:1461(1460) ack 1\n+0 < . 1:1(0) ack 1 win 0")
    assert conn.info["snd_wnd"] == 0


def test_rst_after_the_peers_fin_is_a_broken_pipe(conn):
    """As on Linux: ECONNRESET elsewhere, EPIPE in CLOSE-WAIT."""
    conn.established()
    conn.run("""
      +0 < F. 1:1(0) ack 1
      +0 > . 1:1(0) ack 2
      +0 < R. 2:2(0) ack 1
    """)
    assert [e.error for e in conn.host.take_events() if e.kinds & EV_RESET] == [errno.EPIPE]


def test_two_engines_do_not_answer_each_other_for_ever():
    """Each side's answer to a stray goes to the other, whatever the stray was."""
    for state in ("none", "listen", "established"):
        for flags in ("-", "S", ".", "F", "S.", "F.", "R", "R."):
            conn = Conn(1000)
            conn.iss = 0
            if state == "listen":
                conn.listen()
            elif state == "established":
                conn.established()
            ack = " ack 900000" if "." in flags else ""
            conn.inject(parse(f"+0 < {flags} 70000:70000(0){ack} win 100")[0])
            sent = conn.host.take_sent()
            assert len(sent) <= 1
            if sent and sent[0].packet.segment.flags & 4:
                # A RST, to somebody who knows nothing of it: answered by nothing.
                other = Conn(1000)
                other.iss = 0
                other.inject(parse("+0 < R. 70000:70000(0) ack 1 win 0")[0])
                assert not other.host.sent
