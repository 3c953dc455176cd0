"""Conversations that no sane peer would have: whatever comes, the connection's numbers stay in order."""

import random

import pytest

from neat.stack.tcp.state import TcpState

from .harness.conn import STACK_PORT, Conn
from .harness.frames import PEER_IP, TCP, ethernet, ipv4, tcp
from .harness.host import REQ_ACCEPTED, REQ_SHUT_WR

RX, TX = 1 << 13, 1 << 13
OPTIONS = (
    b"",
    b"\2\4\5\264",
    b"\1\3\3\7",
    b"\1\1\10\12\0\0\0\144\0\0\0\0",
    b"\1\1\10\12\377\377\377\377\377\377\377\377",
    b"\2\4\0\1\3\3\377\0",
    b"\5\12\0\0\0\1\0\0\0\2\1\1",
    b"\10\2\0\0",
)


def near(rng, value):
    """A sequence number that is likely to matter."""
    distance = rng.choice((0, 0, 0, 1, -1, 10, -10, 500, 1460, -1460, 8192, 8193, 65535, 2**31))
    return value + distance + rng.choice((0, 0, rng.randrange(-3, 4))) & 0xFFFFFFFF


def info_of(conn):
    return None if conn.index is None else conn.lab.conn_info(conn.index)


def random_segment(rng, conn):
    info = info_of(conn) or {"rcv_nxt": rng.getrandbits(32), "snd_una": rng.getrandbits(32), "snd_nxt": 0}
    flags = rng.choice((16, 16, 16, 24, 17, 4, 20, 2, 18, 1, 0, rng.randrange(256)))
    text = bytes(rng.choice((0, 0, 1, 10, 1000, 1460, 4000)))
    ack = near(rng, rng.choice((info["snd_una"], info["snd_nxt"])))
    window = rng.choice((0, 1, 100, 1460, 8192, 65535))
    seq = near(rng, info["rcv_nxt"])
    return tcp(conn.port, STACK_PORT, seq, ack, flags, window, rng.choice(OPTIONS), text)


def check(conn):
    """What must be true of every connection at every moment."""
    for index in range(conn.lab_connections):
        info = conn.lab.conn_info(index)
        if info is None or info["state"] in (TcpState.SYN_RCVD, TcpState.CLOSED):
            continue
        sock = info["sock"]
        assert (info["snd_nxt"] - info["snd_una"]) % 2**32 <= TX + 1
        assert info["rcv_wnd"] <= max(RX, 65535)
        received = conn.lab.peek(sock, "rx_tail") - conn.lab.peek(sock, "rx_head")
        assert 0 <= received <= RX
        assert 0 <= conn.lab.peek(sock, "tx_tail") - conn.lab.peek(sock, "tx_head") <= TX
        assert info["cwnd"] > 0 or info["state"] == TcpState.SYN_SENT


@pytest.mark.parametrize("seed", range(30))
def test_nonsense(seed):
    rng = random.Random(seed)
    conn = Conn(rng.getrandbits(32), rx_size=RX, tx_size=TX, max_connections=8, offloads=rng.choice((0, 3)))
    conn.lab_connections = 8
    conn.listen(backlog=4)
    for _ in range(300):
        info = info_of(conn)
        if info is None:
            conn.index = conn.lab.connect(PEER_IP, conn.port) if rng.random() < 0.1 else None
            accepted = [e for e in conn.host.take_events() if e.kinds & 1 and not e.kinds & 128]
            if accepted and conn.index is None:
                conn.index, conn.sock = accepted[-1].conn, accepted[-1].sock
                conn.lab.request(conn.sock, REQ_ACCEPTED)
        elif info["state"] != TcpState.SYN_RCVD:
            sock = info["sock"]
            match rng.randrange(12):
                case 0 | 1 | 2:
                    conn.lab.send(sock, bytes(rng.randrange(5000)))
                case 3 | 4 | 5:
                    conn.lab.recv(sock, rng.randrange(5000))
                case 6 if rng.random() < 0.2:
                    conn.lab.request(sock, REQ_SHUT_WR)
                case 7 if rng.random() < 0.2:
                    conn.lab.close(conn.index)
        for _ in range(rng.randrange(4)):
            conn.lab.arrive(ethernet(ipv4(random_segment(rng, conn), TCP)))
        conn.settle()
        if rng.random() < 0.3:
            conn.host.run_for(rng.choice((0.001, 0.05, 0.3, 3, 100)))
        conn.host.take_sent()
        check(conn)


def test_mutated_conversation_does_not_hurt_the_next_one(conn):
    rng = random.Random(7)
    conn.established()
    for _ in range(3000):
        frame = bytearray(ethernet(ipv4(random_segment(rng, conn), TCP)))
        for _ in range(rng.randrange(4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        conn.lab.arrive(bytes(frame[: rng.choice((len(frame), rng.randrange(len(frame) + 1)))]))
        if rng.random() < 0.1:
            conn.host.turn()
    conn.host.run_for(1000)
    conn.host.sent.clear()
    other = Conn(5000, host=conn.host, port=50001)
    other.run("""
      +0 < S 0:0(0) win 65535 <mss 1460>
      +0 > S. 0:0(0) ack 1
      +0 < P. 1:11(10) ack 1 win 65535
      +.04 > . 1:1(0) ack 11
    """)
