"""A stream so long that the sequence numbers of its beginning lie ahead again."""

from neat.stack.lab import Lab

from .harness.conn import PEER_PORT, STACK_PORT, Conn
from .harness.frames import ACK, TCP, VNET, ethernet, ipv4, read_packet, tcp
from .harness.host import RECORD_FRAME

CSUM, TSO = 1, 2
MSS = 1460
HEADERS = VNET.size + 14 + 20 + 20
CHUNK = bytes(MSS * 2000)  # whole segments only
PAST_THE_SIGN = 2**31 + 2**20


def frames(lab: Lab) -> list[bytes]:
    return [record for kind, record in lab.transmit() if kind == RECORD_FRAME]


def acknowledge(conn: Conn, total: int) -> None:
    conn.lab.arrive(
        ethernet(ipv4(tcp(PEER_PORT, STACK_PORT, conn.irs + 1, conn.iss + 1 + total, ACK, 65535), TCP))
    )


def send_whole_segments(conn: Conn, total: int) -> int:
    """The peer acknowledges at once all that is sent. Returns how much that was."""
    sent = acked = 0
    while acked < total:
        conn.lab.send(conn.sock, CHUNK)
        sent += len(CHUNK)
        conn.lab.scan()
        while acked < sent:
            out = frames(conn.lab)
            assert out
            acked += sum(len(record) - HEADERS for record in out)
            acknowledge(conn, acked)
    frames(conn.lab)
    conn.lab.events()
    return acked


def test_after_more_than_two_gigabytes():
    conn = Conn(1000, offloads=CSUM | TSO, tx_size=1 << 22)
    conn.established(win=65535, options="mss 1460,nop,wscale 10")
    total = send_whole_segments(conn, PAST_THE_SIGN)

    # Nagle: no small segment is under way, so one may go at once.
    conn.lab.send(conn.sock, b"x" * 10)
    conn.lab.scan()
    (record,) = frames(conn.lab)
    total += 10
    acknowledge(conn, total)
    frames(conn.lab)

    # RFC 6582 §3.2 step 1: `recover` is of no earlier loss, so three duplicates are answered.
    conn.lab.send(conn.sock, bytes(MSS * 10))
    conn.lab.scan()
    assert frames(conn.lab)
    for _ in range(3):
        acknowledge(conn, total)
    again = read_packet(frames(conn.lab)[0]).segment
    assert (again.seq, len(again.payload)) == ((conn.iss + 1 + total) % 2**32, MSS)
    assert conn.counters["TCP_FAST_RETRANSMITS"] == 1
