"""UDP sockets: datagrams in and out of the rings, peers, errors, lies (RFC 768, RFC 1122 §4.1)."""

import errno

import pytest

from neat.abi.layout import NEAT_BIND_REUSEPORT as REUSEPORT

from .harness.frames import ETH_ARP, PEER_IP, PEER_MAC, STACK_IP, STACK_MAC, UDP, arp, ethernet, ipv4, udp
from .harness.host import EV_READABLE, EV_WRITABLE, OPT_BROADCAST, OPT_PEER, REQ_NOTIFY, Host

SOCK, PORT = 3, 7000


@pytest.fixture
def host(host):
    host.lab.udp_bind(SOCK, PORT)
    return host


def send(host: Host, data: bytes, address: str = PEER_IP, port: int = 9) -> list:
    """Send a datagram; returns what left, ARP aside."""
    assert host.lab.send_datagram(SOCK, data, address, port)
    host.turn()
    return [s.packet for s in host.take_sent() if s.packet]


def frame(data: bytes, sport: int = 9, port: int = PORT, **fields) -> bytes:
    return ethernet(ipv4(udp(sport, port, data, **fields), UDP))


def failure(host: Host) -> int:
    return host.lab.peek(SOCK, "error") if host.lab.peek(SOCK, "error_count") else 0


class TestReceiving:
    @pytest.mark.parametrize("size", [0, 1, 7, 8, 1472])
    def test_any_size(self, host, size):
        data = bytes(i & 255 for i in range(size))
        host.arrive(frame(data))
        assert host.lab.recv_datagram(SOCK) == (data, (PEER_IP, 9))
        assert host.lab.recv_datagram(SOCK) is None
        (event,) = host.take_events()
        assert (event.kinds, event.sock, event.conn) == (EV_READABLE, SOCK, -1)

    def test_many_wrap_around_the_ring(self, host):
        for i in range(500):
            data = bytes([i & 255]) * (i * 37 % 1400)
            host.arrive(frame(data))
            assert host.lab.recv_datagram(SOCK) == (data, (PEER_IP, 9))

    def test_full_ring_drops_and_counts(self, host):
        for _ in range(60):
            host.arrive(frame(bytes(1400)))
        fit = 65536 // 1432
        assert host.lab.peek(SOCK, "drops") == host.lab.counters()["UDP_RING_FULL"] == 60 - fit
        for _ in range(fit):
            assert host.lab.recv_datagram(SOCK) == (bytes(1400), (PEER_IP, 9))
        assert host.lab.recv_datagram(SOCK) is None
        host.arrive(frame(b"room again"))
        assert host.lab.recv_datagram(SOCK)[0] == b"room again"

    def test_rcvbuf_limits_but_one_always_fits(self, host):
        host.lab.poke(SOCK, "rcvbuf", 256)
        host.arrive(frame(bytes(1000)))
        host.arrive(frame(b"x"))
        assert host.lab.peek(SOCK, "drops") == 1
        assert len(host.lab.recv_datagram(SOCK)[0]) == 1000

    @pytest.mark.parametrize("fields", [{"length": 7}, {"length": 100}, {"length": 0}])
    def test_bad_length(self, host, fields):
        host.arrive(frame(b"data", **fields))
        assert host.lab.recv_datagram(SOCK) is None
        assert host.lab.counters()["UDP_BAD_LENGTH"] == 1

    def test_short_length_cuts(self, host):
        """The UDP length decides, as long as it fits into the packet."""
        raw = udp(9, PORT, b"data") + b"trailer"
        host.arrive(ethernet(ipv4(raw, UDP)))
        assert host.lab.recv_datagram(SOCK)[0] == b"data"

    def test_checksum(self, host):
        host.arrive(frame(b"data", checksum=0x1234))
        assert host.lab.recv_datagram(SOCK) is None
        assert host.lab.counters()["UDP_BAD_CHECKSUM"] == 1
        host.arrive(frame(b"data", checksum=0))  # none was made
        assert host.lab.recv_datagram(SOCK)[0] == b"data"

    def test_peer_filters(self, host):
        host.lab.set_peer(SOCK, PEER_IP, 9)
        host.lab.poke(SOCK, "options", OPT_PEER)
        host.arrive(frame(b"stranger", sport=10))
        assert host.lab.recv_datagram(SOCK) is None
        assert host.lab.counters()["UDP_NOT_PEER"] == 1
        host.arrive(frame(b"friend"))
        assert host.lab.recv_datagram(SOCK)[0] == b"friend"

    def test_the_closest_bind_gets_it(self, host):
        host.lab.udp_unbind(SOCK)
        host.lab.udp_bind(SOCK, PORT, flags=REUSEPORT)
        host.lab.udp_bind(4, PORT, address=STACK_IP, flags=REUSEPORT)
        host.lab.udp_bind(5, PORT, flags=REUSEPORT)
        host.lab.set_peer(5, PEER_IP, 9)
        host.lab.poke(5, "options", OPT_PEER)
        host.arrive(frame(b"for the connected"))
        host.arrive(frame(b"for the exact", sport=10))
        assert host.lab.recv_datagram(5)[0] == b"for the connected"
        assert host.lab.recv_datagram(4)[0] == b"for the exact"
        assert host.lab.recv_datagram(SOCK) is None

    def test_reuseport_spreads_flows(self, host):
        """One flow always reaches the same socket; what a closed one had goes to the others."""
        host.lab.udp_unbind(SOCK)

        def spread(socks):
            found = {}
            for sport in range(2000, 2040):
                host.arrive(frame(b"x", sport=sport))
                host.arrive(frame(b"y", sport=sport))
                found[sport] = next(s for s in socks if host.lab.recv_datagram(s))
                assert host.lab.recv_datagram(found[sport])[0] == b"y"
            return found

        for sock in (4, 5, 6):
            host.lab.udp_bind(sock, PORT, flags=REUSEPORT)
        before = spread((4, 5, 6))
        assert set(before.values()) == {4, 5, 6}
        host.lab.udp_unbind(5)
        after = spread((4, 6))
        assert set(after.values()) == {4, 6}
        assert all(after[sport] == sock for sport, sock in before.items() if sock != 5)


class TestBinding:
    @pytest.mark.parametrize(
        ("sock", "port", "address", "error"),
        [
            (4, PORT, "0.0.0.0", errno.EADDRINUSE),
            (4, PORT, STACK_IP, errno.EADDRINUSE),
            (SOCK, PORT + 1, "0.0.0.0", errno.EADDRINUSE),
            (4, 0, "0.0.0.0", errno.EINVAL),
            (400, PORT + 1, "0.0.0.0", errno.EINVAL),
            (100_000, PORT + 1, "0.0.0.0", errno.EINVAL),
            (4, PORT + 1, "192.0.2.1", errno.EADDRNOTAVAIL),
        ],
    )
    def test_refusals(self, host, sock, port, address, error):
        with pytest.raises(OSError) as caught:
            host.lab.udp_bind(sock, port, address=address)
        assert caught.value.errno == error

    def test_the_table_is_bounded(self, host):
        for i in range(15):
            host.lab.udp_bind(10 + i, 8000 + i)
        with pytest.raises(OSError) as caught:
            host.lab.udp_bind(40, 9000)
        assert caught.value.errno == errno.ENOBUFS

    def test_unbound_means_closed(self, host):
        for _ in range(100):
            host.lab.udp_unbind(SOCK)
            host.lab.udp_bind(SOCK, PORT)
        host.lab.udp_unbind(SOCK)
        host.arrive(frame(b"anyone?"))
        assert host.lab.counters()["UDP_NO_PORT"] == 1
        assert host.lab.users == 0
        with pytest.raises(OSError):
            host.lab.udp_unbind(SOCK)

    def test_detached_means_closed(self, host):
        """The application is gone: what waits for a neighbour still goes, what comes finds nobody."""
        host.neighbours = {}
        host.lab.send_datagram(SOCK, b"last words", PEER_IP, 9)
        host.turn()
        host.take_sent()
        host.lab.detach()
        host.lab.channel[: 1 << 20] = b"\xff" * (1 << 20)
        host.arrive(ethernet(arp(2, PEER_MAC, PEER_IP, STACK_MAC, STACK_IP), ETH_ARP))
        (sent,) = host.take_sent()
        assert sent.packet.payload[8:] == b"last words"
        host.arrive(frame(b"anyone?"))
        assert host.lab.counters()["UDP_NO_PORT"] == 1
        assert host.lab.users == 0

    def test_unbound_with_datagrams_queued(self, host):
        """They leave, as on Linux; the next owner of the slot starts clean."""
        host.lab.send_datagram(SOCK, b"the first", PEER_IP, 9)
        host.lab.scan()
        host.lab.udp_unbind(SOCK)
        host.lab.udp_bind(SOCK, PORT)
        host.turn()
        assert [s.packet.payload[8:] for s in host.take_sent()] == [b"the first"]
        (packet,) = send(host, b"the second")
        assert packet.payload[8:] == b"the second"


class TestSending:
    @pytest.mark.parametrize("size", [0, 1, 1472])
    def test_any_size_up_to_the_mtu(self, host, size):
        (packet,) = send(host, bytes(size))
        assert (packet.destination, packet.payload[:4], len(packet.payload)) == (
            PEER_IP,
            b"\x1b\x58\0\x09",
            8 + size,
        )

    def test_larger_than_the_mtu(self, host):
        assert send(host, bytes(1473)) == []
        assert failure(host) == errno.EMSGSIZE
        assert host.lab.counters()["UDP_UNSENDABLE"] == 1

    def test_many_wrap_around_the_ring(self, host):
        for i in range(300):
            data = bytes([i & 255]) * (i * 53 % 1472)
            assert [packet.payload[8:] for packet in send(host, data)] == [data]

    def test_a_full_ring_becomes_writable_again(self, host):
        host.neighbours = {}
        while host.lab.send_datagram(SOCK, bytes(1000), PEER_IP, 9):
            pass
        host.turn()
        assert any(event.kinds & EV_WRITABLE for event in host.take_events())
        assert host.lab.send_datagram(SOCK, bytes(1000), PEER_IP, 9)

    def test_to_the_peer(self, host):
        host.lab.set_peer(SOCK, PEER_IP, 77)
        host.lab.poke(SOCK, "options", OPT_PEER)
        (packet,) = send_unaddressed(host, b"to whom it may concern")
        assert packet.payload[2:4] == b"\0\x4d"

    def test_without_destination(self, host):
        assert send_unaddressed(host, b"to nobody") == []
        assert failure(host) == errno.EDESTADDRREQ

    @pytest.mark.parametrize(
        ("address", "port", "error"),
        [
            (PEER_IP, 0, errno.EINVAL),
            ("224.0.0.1", 9, errno.ENETUNREACH),
            ("127.0.0.1", 9, errno.ENETUNREACH),
            ("255.255.255.255", 9, errno.EACCES),
            ("10.77.0.255", 9, errno.EACCES),
        ],
    )
    def test_destinations_that_cannot_be(self, host, address, port, error):
        assert send(host, b"?", address, port) == []
        assert failure(host) == error

    def test_broadcast_when_allowed(self, host):
        host.lab.poke(SOCK, "options", OPT_BROADCAST)
        host.lab.send_datagram(SOCK, b"all", "255.255.255.255", 9)
        host.turn()
        (sent,) = host.take_sent()
        assert sent.frame[:6] == b"\xff" * 6

    def test_tos_and_ttl(self, host):
        host.lab.poke(SOCK, "tos", 0xB8)
        host.lab.poke(SOCK, "ttl", 3)
        (packet,) = send(host, b"x")
        assert (packet.tos, packet.ttl) == (0xB8, 3)

    def test_the_device_completes_the_checksum(self):
        host = Host(offloads=1)
        host.lab.udp_bind(SOCK, PORT)
        (packet,) = send(host, b"x" * 100)  # read_packet verified the pseudo-header sum
        assert packet.payload[8:] == b"x" * 100

    def test_sockets_take_turns(self, host):
        host.lab.udp_bind(4, PORT + 1)
        for _ in range(3):
            host.lab.send_datagram(SOCK, b"a", PEER_IP, 9)
            host.lab.send_datagram(4, b"b", PEER_IP, 9)
        host.turn()
        sent = [s.packet.payload[8:] for s in host.take_sent() if s.packet]
        assert sorted(sent) == [b"a"] * 3 + [b"b"] * 3

    def test_resignal(self, host):
        host.lab.request(SOCK, REQ_NOTIFY)
        host.turn()
        assert host.take_events()[0].kinds & EV_READABLE
        assert host.lab.peek(SOCK, "request") == 0


def send_unaddressed(host: Host, data: bytes) -> list:
    """As send() on a connected socket: the record's address has family 0."""
    lab = host.lab
    lab.send_datagram(SOCK, data)
    tail = lab.peek(SOCK, "tx_tail") - (32 + len(data) + 7) // 8 * 8
    at = lab.tx_ring(SOCK) + tail + 8
    lab.channel[at : at + 24] = bytes(24)
    host.turn()
    return [s.packet for s in host.take_sent() if s.packet]


class TestLies:
    """The application writes nonsense into its ring and counters: this socket ends, nothing else does."""

    def others_work(self, host):
        host.lab.udp_bind(9, PORT + 9)
        host.arrive(frame(b"fine", port=PORT + 9))
        assert host.lab.recv_datagram(9)[0] == b"fine"

    @pytest.mark.parametrize("tail", [1, 8, 24, 65537, 65544, 1 << 63, (1 << 64) - 8])
    def test_tx_tail(self, host, tail):
        host.lab.poke(SOCK, "tx_tail", tail)
        host.turn()
        assert failure(host) == errno.EIO
        assert host.lab.counters()["UDP_BAD_COMMAND"] == 1
        assert host.take_sent() == []
        self.others_work(host)

    @pytest.mark.parametrize("head", [1, 8, 65536, 1 << 63, (1 << 64) - 1])
    def test_rx_head(self, host, head):
        host.lab.poke(SOCK, "rx_head", head)
        host.arrive(frame(b"data"))
        assert failure(host) == errno.EIO
        self.others_work(host)

    @pytest.mark.parametrize("length", [9, 65536, 1 << 31, (1 << 32) - 1, (1 << 32) - 33])
    def test_length_of_a_datagram(self, host, length):
        at = host.lab.tx_ring(SOCK)
        host.lab.channel[at : at + 4] = length.to_bytes(4, "little")
        host.lab.poke(SOCK, "tx_tail", 40)
        host.turn()
        assert failure(host) == errno.EIO
        assert host.take_sent() == []
        self.others_work(host)
