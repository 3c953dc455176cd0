"""Opening: both directions, each option, both at once; what is refused (RFC 9293 §3.5, §3.10.7, RFC 7323)."""

import errno

import pytest

from neat.abi import layout
from neat.stack.tcp.state import TcpState

from .harness.host import EV_ACCEPT, EV_CONNECTED, EV_RESET, RECORD_FLOW_ADD, RECORD_FLOW_DELETE
from .harness.notation import parse

ST_CONNECTED, ST_CONNECTING = layout.NEAT_ST_CONNECTED, layout.NEAT_ST_CONNECTING


def test_passive_open(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 win 65535 <mss 1460>
      +0 < . 1:1(0) ack 1 win 65535
    """)
    assert [e.kinds for e in conn.host.events] == [EV_ACCEPT]
    conn.accept()
    assert conn.state == TcpState.ESTABLISHED
    assert conn.lab.peek(conn.sock, "status") & ST_CONNECTED
    assert conn.lab.peek(conn.sock, "generation") % 2 == 1
    assert conn.counters["TCP_PASSIVE_OPENS"] == 1


def test_active_open(conn):
    conn.connect()
    assert conn.lab.peek(conn.sock, "status") & ST_CONNECTING
    assert [kind for kind, _ in conn.host.flows] == [RECORD_FLOW_ADD]
    conn.run("""
      +0 > S 0:0(0) win 65535 <mss 1460,sackOK,TS val * ecr 0,nop,wscale 0>
      +0 < S. 0:0(0) ack 1 win 65535 <mss 1000>
      +0 > . 1:1(0) ack 1 <>
    """)
    assert conn.state == TcpState.ESTABLISHED
    assert conn.event_kinds == EV_CONNECTED
    assert conn.lab.peek(conn.sock, "status") & (ST_CONNECTED | ST_CONNECTING) == ST_CONNECTED
    assert conn.info["mss"] == 1000


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("", "mss 1460"),
        ("mss 1460", "mss 1460"),
        ("mss 1460,wscale 7", "mss 1460,wscale 0"),
        ("mss 1460,TS val 5 ecr 0", "mss 1460,TS val * ecr 5"),
        ("mss 1460,sackOK", "mss 1460,sackOK"),
        ("mss 1460,sackOK,wscale 7", "mss 1460,sackOK,wscale 0"),
        ("mss 1460,sackOK,TS val 5 ecr 0,nop,wscale 7", "mss 1460,sackOK,TS val * ecr 5,nop,wscale 0"),
    ],
)
def test_only_offered_options_are_answered(conn, offered, answered):
    conn.listen()
    conn.run(f"""
      +0 < S 0:0(0) win 65535 <{offered}>
      +0 > S. 0:0(0) ack 1 <{answered}>
    """)


def test_options_of_a_syn_stand_as_linux_has_them(conn):
    """tcp_options_write() of Linux: byte by byte, padding too, as fingerprints and middleboxes know it."""
    conn.connect()
    conn.settle()
    options = conn.host.sent[-1].packet.segment.options
    assert [option[0] for option in options] == ["mss", "sackOK", "TS", "nop", "wscale"]


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("mss 1460,sackOK", ["mss", "nop", "nop", "sackOK"]),
        ("mss 1460,nop,nop,TS val 5 ecr 0,nop,wscale 7", ["mss", "nop", "nop", "TS", "nop", "wscale"]),
    ],
)
def test_options_of_a_syn_ack_are_padded_as_linux_does_it(conn, offered, answered):
    conn.listen()
    conn.inject(parse(f"+0 < S 0:0(0) win 65535 <{offered}>")[0])
    conn.settle()
    assert [option[0] for option in conn.host.sent[-1].packet.segment.options] == answered


def test_mss_is_the_smaller_of_both(make_conn):
    conn = make_conn(mtu=576)
    conn.established(options="mss 1460", mss=536)
    conn.send(1000)
    conn.run("""
      +0 > . 1:537(536) ack 1
      +0 > P. 537:1001(464) ack 1
      +0 < . 1:1(0) ack 1001
    """)


def test_no_mss_option_means_536(conn):
    """RFC 9293 §3.7.1: "If an MSS Option is not received [...] MUST assume a default send MSS of 536"."""
    conn.established(options="")
    conn.send(600)
    conn.run("""
      +0 > . 1:537(536) ack 1
      +0 > P. 537:601(64) ack 1
    """)


def test_absurd_mss_is_not_believed(conn):
    conn.established(options="mss 1")
    assert conn.info["mss"] >= 88


def test_windows_are_scaled_after_the_handshake(make_conn):
    conn = make_conn(rx_size=1 << 20)
    conn.established(options="mss 1460,wscale 3", win=1000)
    assert conn.info["snd_wnd"] == 8000
    conn.run("""
      +0 < P. 1:11(10) ack 1 win 2000
      +.04 > . 1:1(0) ack 11 win 16383
    """)
    assert conn.info["snd_wnd"] == 16000
    assert conn.info["rcv_wnd"] == (1 << 18) - 10


def test_scale_above_14_counts_as_14(conn):
    """RFC 7323 §2.3"""
    conn.established(options="mss 1460,wscale 15", win=1)
    assert conn.info["snd_wnd"] == 1 << 14


def test_syn_ack_is_sent_again(conn):
    conn.listen()
    conn.run("""
      +0  < S 0:0(0) win 65535 <mss 1460>
      +0  > S. 0:0(0) ack 1 <mss 1460>
      +1  > S. 0:0(0) ack 1 <mss 1460>
      +2  > S. 0:0(0) ack 1 <mss 1460>
      +.1 < S 0:0(0) win 65535 <mss 1460>
      +0  > S. 0:0(0) ack 1 <mss 1460>
    """)
    assert conn.lab.users == 1, "no socket before the handshake is done"


def test_half_open_connection_is_forgotten(make_conn):
    conn = make_conn(syn_retries=1)
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +1 > S. 0:0(0) ack 1
    """)
    conn.quiet(5)
    assert conn.counters["TCP_SYN_TIMEOUT"] == 1
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0
    assert [kind for kind, _ in conn.host.flows] == [RECORD_FLOW_DELETE]


def test_connect_times_out(make_conn):
    conn = make_conn(syn_retries=2)
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +1 > S 0:0(0)
      +2 > S 0:0(0)
    """)
    conn.quiet(4.1)
    (event,) = conn.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, errno.ETIMEDOUT)
    assert conn.lab.peek(conn.sock, "error") == errno.ETIMEDOUT


def test_connect_is_refused(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < R. 0:0(0) ack 1
    """)
    (event,) = conn.host.take_events()
    assert (event.kinds, event.error) == (EV_RESET, errno.ECONNREFUSED)
    assert conn.lab.peek(conn.sock, "error_count") == 1
    conn.close()
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0


def test_rst_without_a_good_ack_does_not_end_a_connect(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < R 0:0(0)
      +0 < R. 0:0(0) ack 2
      +0 < R. 0:0(0) ack 0
    """)
    assert conn.state == TcpState.SYN_SENT


def test_bad_ack_in_syn_sent_draws_rst(conn):
    """RFC 9293 §3.10.7.3: "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset"."""
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < . 77:77(0) ack 9
      +0 > R 9:9(0)
      +0 < S. 0:0(0) ack 0
      +0 > R 0:0(0)
      +0 < S. 0:0(0) ack 1
      +0 > . 1:1(0) ack 1
    """)


def test_ack_without_syn_in_syn_sent_is_ignored(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < . 77:77(0) ack 1
    """)
    assert conn.state == TcpState.SYN_SENT


def test_simultaneous_open(conn):
    """RFC 9293 §3.5 figure 7."""
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1 <mss 1460,...>
      +0 < S. 0:0(0) ack 1 win 65535 <mss 1460>
    """)
    assert conn.state == TcpState.ESTABLISHED
    assert conn.event_kinds == EV_CONNECTED
    conn.send(10)
    conn.run("+0 > P. 1:11(10) ack 1")


def test_data_on_the_syn_ack_is_taken(conn):
    conn.connect()
    conn.run("""
      +0 > S 0:0(0)
      +0 < S. 0:5(5) ack 1 win 65535 <mss 1460>
      +0 > . 1:1(0) ack 6
    """)
    assert conn.recv(100) != b""


def test_data_on_the_last_ack_of_the_handshake(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < P. 1:101(100) ack 1 win 65535
    """)
    conn.accept()
    assert len(conn.recv()) == 100
    conn.run("+.04 > . 1:1(0) ack 101")


def test_bad_ack_in_syn_rcvd_draws_rst(conn):
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:1(0) ack 9 win 65535
      +0 > R 9:9(0)
      +0 < . 1:1(0) ack 1 win 65535
    """)
    conn.accept()


def test_rst_in_syn_rcvd_returns_to_listen(conn):
    """RFC 9293 §3.10.7.4: "return this connection to the LISTEN state"."""
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < R 1:1(0)
    """)
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0
    assert conn.host.events == []


def test_isns_differ_between_peers_and_grow_with_time(make_conn):
    """RFC 6528: one secret offset for each 5-tuple, and a clock."""
    conn = make_conn()
    conn.listen()
    conn.run("""
      +0 < S 0:0(0) win 65535
      +0 > S. 0:0(0) ack 1
      +0 < R 1:1(0)
    """)
    first = conn.iss
    conn.run("""
      +1 < S 0:0(0) win 65535
      +0 > S. 0:0(0) ack 1
    """)
    assert 0 < (conn.iss - first) % 2**32 < 1_000_000


def test_connect_checks_its_arguments(host):
    for address, port, code in (("224.0.0.1", 80, errno.ENETUNREACH), ("10.77.0.1", 0, errno.EINVAL)):
        with pytest.raises(OSError) as caught:
            host.lab.connect(address, port)
        assert caught.value.errno == code
    host.lab.connect("10.77.0.1", 80, local_port=5000)
    with pytest.raises(OSError) as caught:
        host.lab.connect("10.77.0.1", 80, local_port=5000)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_ephemeral_ports_are_of_the_replicas_class_and_differ():
    from .harness.host import Host

    host = Host(replica=2, replicas=3, port_range=(40000, 40059), max_connections=64)
    ports = []
    for _ in range(20):
        conn = host.lab.connect("10.77.0.1", 80)
        ports.append(host.lab.conn_info(conn)["local"][1])
    assert len(set(ports)) == 20
    assert all(p % 3 == 2 and 40000 <= p <= 40059 for p in ports)
    with pytest.raises(OSError) as caught:
        host.lab.connect("10.77.0.1", 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_unreachable_neighbour_ends_a_connect(host):
    host.neighbours.clear()
    conn = host.lab.connect("10.77.0.9", 80)
    host.turn()
    host.run_for(10)
    event = next(e for e in host.take_events() if e.conn == conn)
    assert (event.kinds, event.error) == (EV_RESET, errno.EHOSTUNREACH)
