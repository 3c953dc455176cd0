"""An application that writes nonsense into its channel harms its own connection only."""

import random

import pytest

from neat.abi.layout import NEAT_DIRTY_OFFSET, neat_sock, sock_offset
from neat.stack.state import SIZES
from neat.stack.tcp.state import TcpState

from .harness.conn import Conn
from .harness.host import EV_NOTIFY, EV_RESET, EV_WRITABLE, REQ_NOTIFY


def test_layout_of_the_state_segment():
    assert SIZES == {
        "StateHeader": 4096,
        "ConnSlot": 320,
        "ListenerSlot": 64,
        "UdpSlot": 128,
        "NeighbourSlot": 64,
        "WaitSlot": 128,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tx_tail", 1 << 16 | 1),
        ("tx_tail", 2**64 - 1),
        ("tx_tail", 2**63),
        ("rx_head", 1),
        ("rx_head", 2**64 - 1),
    ],
)
def test_impossible_offset_resets_this_connection_only(conn, field, value):
    conn.established()
    other = Conn(9000, host=conn.host, port=41000)
    other.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < . 1:1(0) ack 1 win 65535
    """)
    other.accept()
    conn.host.take_events()
    conn.lab.poke(conn.sock, field, value)
    conn.settle()
    conn.run("+0 > R. 1:1(0) ack 1")
    assert [e.kinds for e in conn.host.take_events()] == [EV_RESET]
    assert conn.state == TcpState.CLOSED
    other.send(10)
    other.run("+0 > P. 1:11(10) ack 1\n+0 < . 1:1(0) ack 11")


def test_offsets_that_go_back(conn):
    conn.established()
    conn.send(100)
    conn.run("+0 > P. 1:101(100) ack 1\n+0 < P. 1:101(100) ack 101")
    conn.recv()
    conn.lab.poke(conn.sock, "rx_head", 50)
    conn.settle()
    conn.run("+0 > R. 101:101(0) ack 101")
    assert conn.counters["TCP_BAD_RX_HEAD"] == 1


def test_the_replicas_own_lines_are_never_read_back(conn):
    """The application may scribble over what the replica wrote: the truth is in the state segment."""
    conn.established()
    conn.send(100)
    conn.run("+0 > P. 1:101(100) ack 1\n+0 < P. 1:101(100) ack 101\n+.04 > . 101:101(0) ack 101")
    for field in ("rx_tail", "tx_head", "status", "generation", "kind", "tcp_state"):
        conn.lab.poke(conn.sock, field, 0xFF)
    conn.settle()
    conn.run("+0 < P. 101:201(100) ack 101\n+.04 > . 101:101(0) ack 201")
    assert conn.lab.peek(conn.sock, "rx_tail") == 200
    assert conn.lab.users == 2


def test_notify(conn):
    conn.established()
    conn.run("+0 < P. 1:101(100) ack 1\n+.04 > . 1:1(0) ack 101")
    conn.host.take_events()
    conn.lab.request(conn.sock, REQ_NOTIFY)
    conn.settle()
    assert conn.event_kinds == EV_NOTIFY | EV_WRITABLE
    assert conn.lab.peek(conn.sock, "request") & REQ_NOTIFY == 0


def test_dirty_bits_of_sockets_that_are_not_there(conn):
    conn.established()
    for sock in (0, 1, 257, 300, 511):
        conn.lab.dirty(sock)
    conn.settle()
    assert conn.counters["CHANNEL_BAD_BIT"] == 5
    assert conn.state == TcpState.ESTABLISHED


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_over_the_whole_channel(seed):
    """Nothing crashes, nothing hangs, and the engine serves whoever is sane afterwards."""
    rng = random.Random(seed)
    conn = Conn(1000)
    conn.established()
    for _ in range(50):
        at = rng.randrange(NEAT_DIRTY_OFFSET, sock_offset(260))
        conn.lab.channel[at : at + 64] = rng.randbytes(64)
        for _ in range(5):
            at = sock_offset(256) + rng.randrange(neat_sock.size)
            conn.lab.channel[at : at + 4] = rng.randbytes(4)
        conn.lab.dirty(conn.sock)
        conn.lab.scan()
        conn.lab.advance(rng.randrange(10**9))
        conn.lab.transmit(1000)
        conn.lab.events()
    info = conn.lab.conn_info(conn.index)
    assert info is None or info["state"] in set(TcpState)


def test_detach_resets_everything(conn):
    conn.established()
    conn.lab.detach()
    conn.settle()
    conn.run("+0 > R. 1:1(0) ack 1")
    assert conn.counters.get("TCP_CONNECTIONS", 0) == 0
