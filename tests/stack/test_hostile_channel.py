"""An application writes anything into its channel: its sockets may end, nothing else does."""

import random

import pytest

from neat.abi.layout import NEAT_DIRTY_OFFSET, NEAT_SOCKS_OFFSET, NEAT_ST_CLOSED, neat_sock, sock_offset

from .harness.conn import Conn, serves
from .harness.frames import ACK, PSH, TCP, UDP, ethernet, ipv4, tcp, udp

UDP_SOCK, OTHER_SOCK = 3, 4
ONES = b"\xff" * (NEAT_SOCKS_OFFSET - NEAT_DIRTY_OFFSET)
NSOCK = 512
INTERESTING = (0, 1, 7, 8, 4095, 4096, 65535, 65536, 65537, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
APPLICATION_FIELDS = [
    "tx_tail",
    "rx_head",
    "request",
    "options",
    "rcvbuf",
    "sndbuf",
    "linger_ms",
    "user_timeout_ms",
    "keep_idle_s",
    "keep_intvl_s",
    "keep_cnt",
    "tos",
    "ttl",
    "maxseg",
]


def serving() -> Conn:
    conn = Conn(nsock=NSOCK, max_connections=64)
    conn.lab.udp_bind(UDP_SOCK, 7000)
    conn.lab.udp_bind(OTHER_SOCK, 7001)
    conn.established()
    return conn


@pytest.mark.parametrize("value", INTERESTING)
@pytest.mark.parametrize("field", [name for name, field in neat_sock.fields.items() if field.size <= 8])
def test_every_field(field, value):
    """One absurd value, with data arriving and leaving before and after."""
    conn = serving()
    conn.send(3000)
    conn.host.take_sent()
    conn.lab.poke(conn.sock, field, value)
    conn.host.turn()
    conn.host.arrive(ethernet(ipv4(tcp(40000, 80, 1001, conn.iss + 1, ACK | PSH, payload=b"x" * 500), TCP)))
    conn.host.run_for(5)
    conn.host.take_sent()
    serves(conn.host)


@pytest.mark.parametrize("field", ["tx_tail", "rx_head"])
@pytest.mark.parametrize("value", [65537, 1 << 31, 1 << 63, (1 << 64) - 1])
def test_a_counter_that_makes_no_sense_ends_the_connection(field, value):
    conn = serving()
    conn.lab.poke(conn.sock, field, value)
    conn.host.turn()
    assert conn.lab.peek(conn.sock, "status") & NEAT_ST_CLOSED
    assert conn.counters["TCP_BAD_TX_TAIL" if field == "tx_tail" else "TCP_BAD_RX_HEAD"] == 1
    serves(conn.host)


@pytest.mark.parametrize("seed", range(4))
def test_random_writes(seed):
    """Anywhere in the header, the bitmaps, the socket objects and the rings in use, while traffic goes on."""
    rng = random.Random(seed)
    conn = serving()
    lab, socks = conn.lab, (conn.sock, conn.sock, UDP_SOCK, 0, 511, 300)
    for i in range(15_000):
        if rng.random() < 0.6:
            value = rng.choice((*INTERESTING, rng.getrandbits(64), rng.randrange(1 << 17)))
            lab.poke(rng.choice(socks), rng.choice(APPLICATION_FIELDS), value)
        else:
            at = rng.randrange(sock_offset(NSOCK))
            lab.channel[at : at + 8] = rng.randbytes(8)
        if i % 8 == 0:
            lab.arrive(ethernet(ipv4(udp(9, 7000, rng.randbytes(rng.randrange(100))), UDP)))
        lab.scan(budget=rng.choice((1, 100)))
        lab.transmit(limit=100)
        lab.events()
        if i % 16 == 0:
            lab.advance(rng.choice((0, 10_000_000, 2_000_000_000)))
    conn.host.run_for(10)
    serves(conn.host)


def test_dirty_bits_of_nothing():
    """Every bit set: each is looked at once, none is in use."""
    conn = serving()
    for sock in range(NSOCK):
        conn.lab.dirty(sock)
    assert conn.lab.scan() <= NSOCK
    assert not conn.lab.pending
    conn.lab.channel[NEAT_DIRTY_OFFSET:NEAT_SOCKS_OFFSET] = ONES  # bits of sockets that do not exist, too
    for _ in range(100):
        conn.lab.scan(budget=64)
    assert not conn.lab.pending or conn.lab.scan() <= NSOCK
    serves(conn.host)
