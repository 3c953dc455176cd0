"""Local ports of connect(): each replica's share, the destination's own counter, TIME-WAIT that gives way
(RFC 6056 §3.3.4, RFC 6191; neat/ports.py)."""

import errno

import pytest

from neat import ports
from neat.stack.tcp.state import TcpState

from .harness.conn import STACK_PORT, Conn
from .harness.frames import ACK, FIN, PEER_IP, STACK_IP, SYN, TCP, ethernet, ipv4, tcp
from .harness.host import RECORD_FLOW_ADD, RECORD_FLOW_FADES, Host

STAMP = b"\1\1\x08\x0a" + (7).to_bytes(4, "big") + bytes(4)


def connect(host: Host, port: int = 80, **wishes) -> tuple[int, int]:
    """The connection's index and its local port."""
    index = host.lab.connect(PEER_IP, port, **wishes)
    return index, host.lab.conn_info(index)["local"][1]


def open_and_close(host: Host, remote: int = 80, stamps: bool = True, **wishes) -> int:
    """A short connection that this side closes first, so that it ends in TIME-WAIT. Its local port."""
    index, local = connect(host, remote, **wishes)
    host.turn()
    syn = host.take_sent()[0].packet.segment
    options = STAMP if stamps else b""

    def peer(seq: int, flags: int) -> None:
        ack = host.lab.conn_info(index)["snd_nxt"] if flags & SYN == 0 else syn.seq + 1
        host.arrive(ethernet(ipv4(tcp(remote, local, seq, ack, flags, 65535, options), TCP)))

    peer(0, SYN | ACK)
    host.lab.close(index)
    host.turn()
    peer(1, FIN | ACK)
    host.take_sent()
    host.take_events()
    assert (TcpState.TIME_WAIT, (STACK_IP, local), (PEER_IP, remote)) in host.lab.waiting()
    return local


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_shares_are_equal_disjoint_and_all_there_is(count):
    slots = range(count)
    owners = [ports.owner(port, slots) for port in ports.CONNECT]
    sizes = [owners.count(slot) for slot in slots]
    assert max(sizes) - min(sizes) <= 1
    for slot in slots:
        rank, of = ports.share(slot, slots)
        for port, has_it in zip(ports.CONNECT, owners, strict=True):
            assert (port % of == rank) == (has_it == slot)


def test_slots_need_not_be_next_to_each_other():
    assert {ports.owner(port, [1, 4, 9]) for port in range(40000, 40003)} == {1, 4, 9}
    assert ports.share(4, [1, 4, 9]) == (1, 3)


def test_a_share_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError):
        Host(replica=3, replicas=3)
    host = Host()
    for rank, replicas in ((1, 1), (3, 2), (0, 1 << 16)):
        for say in (host.lab.share_ports, host.lab.narrow_ports):
            with pytest.raises(OSError) as caught:
                say(rank, replicas)
            assert caught.value.errno == errno.EINVAL
    with pytest.raises(ValueError):
        Host(port_range=(20000, 60000))  # more than a state has room for


def test_a_share_of_nothing(host):
    host.lab.share_ports(0, 0)
    with pytest.raises(OSError) as caught:
        host.lab.connect(PEER_IP, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_while_shares_change_it_has_what_is_in_both(host):
    host.lab.share_ports(1, 2)
    _, first = connect(host)
    assert host.lab.narrow_ports(2, 3) == {first}
    found = [connect(host)[1] for _ in range(10)]
    assert all(port % 2 == 1 and port % 3 == 2 for port in found)
    assert host.lab.narrow_ports(2, 3) == {first, *found}
    host.lab.share_ports(2, 3, held=set(range(40000, 50000)))
    found = [connect(host)[1] for _ in range(40)]
    assert all(port % 3 == 2 and port not in range(40000, 50000) for port in found)
    assert {port % 2 for port in found} == {0, 1}


def test_what_is_in_use(host):
    """Connections that we opened, also in TIME_WAIT; not those that came to us."""
    Conn(host=host).established()
    assert host.lab.narrow_ports(0, 1) == set()
    waiting = open_and_close(host)
    _, open_one = connect(host)
    assert host.lab.narrow_ports(0, 1) == {waiting, open_one}


def test_a_successor_goes_on_with_the_share(host):
    """Also in the middle of a change."""
    host.lab.share_ports(1, 2, held=range(40000, 60000))
    host.lab.narrow_ports(2, 3)
    host.lab.crash()
    found = [connect(host)[1] for _ in range(10)]
    assert all(port % 2 == 1 and port % 3 == 2 and port not in range(40000, 60000) for port in found)


def test_the_share_changes_with_the_replicas(host):
    """Connections that are open stay where they are."""
    _, before = connect(host)
    host.lab.share_ports(2, 3)
    found = [connect(host)[1] for _ in range(10)]
    assert all(port % 3 == 2 for port in found)
    assert [host.lab.conn_info(i)["local"][1] for i in range(11)] == [before, *found]


def test_ports_of_connections_that_stay_with_another_replica_are_not_chosen():
    """Whoever gets a share anew has what is free of it; what is closed meanwhile, with the next change."""
    host = Host(port_range=(40000, 40011), max_connections=64)
    host.lab.share_ports(0, 2, held=range(40000, 40008))
    assert {connect(host)[1] for _ in range(2)} == {40008, 40010}
    with pytest.raises(OSError) as caught:
        host.lab.connect(PEER_IP, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    connect(host, local_port=40002)  # who says which port means it
    host.lab.share_ports(0, 2)
    assert connect(host)[1] in (40000, 40004, 40006)


def test_every_port_once_before_any_comes_again():
    host = Host(port_range=(40000, 40029), time_wait_ms=1)
    used = []
    for _ in range(60):
        index, local = connect(host)
        used.append(local)
        host.lab.close(index)
        host.turn()
        host.take_sent()
    assert sorted(used[:30]) == list(range(40000, 40030))
    assert used[30:] == used[:30]


def test_destinations_have_counters_of_their_own():
    """RFC 6056 §3.3.4: connections to others do not show in the ports that a destination sees."""
    host = Host(port_range=(40000, 40999))
    first = connect(host, 80)[1]
    for _ in range(5):
        connect(host, 81)
    assert connect(host, 80)[1] == 40000 + (first - 40000 + 1) % 1000


def test_replicas_and_successors_choose_in_another_order():
    starts = {
        connect(Host(replica=replica, replicas=3, now=now))[1] // 3
        for replica in range(3)
        for now in (10**9, 2 * 10**9)
    }
    assert len(starts) == 6


def test_time_wait_counts_for_its_destination_only():
    host = Host(port_range=(40000, 40003), max_connections=64)
    for _ in range(4):
        open_and_close(host)
    with pytest.raises(OSError) as caught:
        host.lab.connect(PEER_IP, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert len({connect(host, 81)[1] for _ in range(4)}) == 4


def test_time_wait_gives_way_to_our_own_connection():
    """RFC 6191 §2, the other way round: after a second, when timestamps tell the two apart."""
    host = Host(port_range=(40000, 40003), max_connections=64)
    for _ in range(10):
        for _ in range(4):
            open_and_close(host)
        host.run_for(1)
    assert host.lab.counters()["TCP_TIME_WAIT_REUSED"] == 36
    assert len(host.lab.waiting()) == 4
    assert host.lab.counters()["TCP_TIME_WAITING"] == 4


def test_time_wait_without_timestamps_does_not_give_way():
    host = Host(port_range=(40000, 40000))
    open_and_close(host, stamps=False)
    host.run_for(30)
    with pytest.raises(OSError) as caught:
        host.lab.connect(PEER_IP, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    host.run_for(31)
    connect(host)


def test_fin_wait_2_does_not_give_way(make_conn):
    conn = make_conn()
    conn.connected(options="mss 1460,TS val 100 ecr last")
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < . 1:1(0) ack 2 <nop,nop,TS val 200 ecr last>
    """)
    conn.quiet(10)
    assert conn.state == TcpState.FIN_WAIT_2
    with pytest.raises(OSError) as caught:
        conn.lab.connect(PEER_IP, conn.port, local_port=STACK_PORT)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def reopened(conn: Conn, after: float) -> None:
    """connect() with the port of a connection that this side has closed `after` seconds ago."""
    conn.connected(options="mss 1460,TS val 100 ecr last")
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < F. 1:1(0) ack 2 <nop,nop,TS val 200 ecr last>
      +0 > . 2:2(0) ack 2
    """)
    conn.quiet(after)
    conn.host.take_events()
    conn.connect()


def test_a_bound_port_is_reopened_beyond_the_old_numbers(conn):
    """RFC 9293 §3.6.1: the ISN is larger than the largest sequence number used; so is the timestamp."""
    conn.connected(options="mss 1460,TS val 100 ecr last")
    old, stamp = conn.iss, conn.last_tsval
    conn.close()
    conn.run("""
      +0 > F. 1:1(0) ack 1
      +0 < F. 1:1(0) ack 2 <nop,nop,TS val 200 ecr last>
      +0 > . 2:2(0) ack 2
    """)
    conn.quiet(1)
    conn.connect()
    conn.run("+0 > S 0:0(0) <mss 1460,sackOK,TS val * ecr 0,nop,wscale 0>")
    assert 2 < (conn.iss - old) % 2**32 < 2**31
    assert 1000 <= (conn.last_tsval - stamp) % 2**32 < 2**31
    assert not conn.lab.waiting()
    # A peer that waits for our last ACK still (LAST-ACK) challenges it (RFC 5961 §4.2) and obeys our RST.
    conn.run("""
      +0 < . 2:2(0) ack 5 <nop,nop,TS val 300 ecr last>
      +0 > R 5:5(0)
      +1 > S 0:0(0)
    """)
    assert conn.state == TcpState.SYN_SENT


def test_a_bound_port_is_not_reopened_at_once(conn):
    with pytest.raises(OSError) as caught:
        reopened(conn, 0.9)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert conn.state == TcpState.TIME_WAIT


def test_the_flow_stays_ours_when_it_is_reopened(conn):
    """The driver must not send its packets elsewhere in between."""
    reopened(conn, 2)
    kinds = [kind for kind, _ in conn.host.flows]
    assert kinds == [RECORD_FLOW_ADD, RECORD_FLOW_FADES, RECORD_FLOW_ADD]
    conn.host.take_sent()


def test_a_full_table_leaves_time_wait_alone():
    host = Host(max_connections=1, port_range=(40000, 40001))
    local = open_and_close(host)
    host.run_for(2)
    connect(host, 81)
    with pytest.raises(OSError) as caught:
        host.lab.connect(PEER_IP, 80, local_port=local)
    assert caught.value.errno == errno.ENOBUFS
    assert len(host.lab.waiting()) == 1
