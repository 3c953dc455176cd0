"""Socket options: the kernel's sockets and NEaT's must do the same."""

import errno
import select
import socket
import struct

import pytest

SOL, TCP, IP = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP

SETTABLE = [
    (SOL, socket.SO_REUSEADDR, 1),
    (SOL, socket.SO_REUSEPORT, 1),
    (SOL, socket.SO_KEEPALIVE, 1),
    (SOL, socket.SO_BROADCAST, 1),
    (TCP, socket.TCP_NODELAY, 1),
    (TCP, socket.TCP_CORK, 1),
    (TCP, socket.TCP_KEEPIDLE, 30),
    (TCP, socket.TCP_KEEPINTVL, 5),
    (TCP, socket.TCP_KEEPCNT, 4),
    (TCP, socket.TCP_USER_TIMEOUT, 9000),
    (IP, socket.IP_TOS, 0x10),
    (IP, socket.IP_TTL, 99),
]


def name(level, option):
    return f"{level}-{option}"


@pytest.mark.parametrize(("level", "option", "value"), SETTABLE, ids=lambda v: str(v))
def test_what_is_set_is_got(world, level, option, value):
    sock = world.socket()
    sock.setsockopt(level, option, value)
    assert sock.getsockopt(level, option) == value


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_KEEPALIVE, socket.SO_BROADCAST])
def test_flags_go_off_again(world, option):
    sock = world.socket()
    sock.setsockopt(SOL, option, 5)
    assert sock.getsockopt(SOL, option) == 1
    sock.setsockopt(SOL, option, 0)
    assert sock.getsockopt(SOL, option) == 0


@pytest.mark.parametrize(
    ("level", "option", "value"),
    [
        (SOL, socket.SO_TYPE, socket.SOCK_STREAM),
        (SOL, socket.SO_DOMAIN, socket.AF_INET),
        (SOL, socket.SO_PROTOCOL, socket.IPPROTO_TCP),
        (SOL, socket.SO_ACCEPTCONN, 0),
        (SOL, socket.SO_ERROR, 0),
        (SOL, socket.SO_REUSEADDR, 0),
        (TCP, socket.TCP_NODELAY, 0),
        (TCP, socket.TCP_KEEPIDLE, 7200),
        (TCP, socket.TCP_KEEPINTVL, 75),
        (TCP, socket.TCP_KEEPCNT, 9),
        (TCP, socket.TCP_USER_TIMEOUT, 0),
        (IP, socket.IP_TOS, 0),
        (IP, socket.IP_TTL, 64),
    ],
)
def test_as_they_are_at_first(world, level, option, value):
    assert world.socket().getsockopt(level, option) == value


def test_linger(world):
    sock = world.socket()
    assert sock.getsockopt(SOL, socket.SO_LINGER, 8) == struct.pack("ii", 0, 0)
    sock.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 7))
    assert sock.getsockopt(SOL, socket.SO_LINGER, 8) == struct.pack("ii", 1, 7)


@pytest.mark.parametrize("option", [socket.SO_RCVBUF, socket.SO_SNDBUF])
def test_buffers_are_doubled_and_have_a_least(world, option):
    sock = world.socket()
    sock.setsockopt(SOL, option, 20_000)
    assert sock.getsockopt(SOL, option) == 40_000
    sock.setsockopt(SOL, option, 1)
    assert sock.getsockopt(SOL, option) == {socket.SO_RCVBUF: 2304, socket.SO_SNDBUF: 4608}[option]


@pytest.mark.parametrize("option", [socket.SO_RCVTIMEO, socket.SO_SNDTIMEO])
def test_timeouts(world, option):
    sock = world.socket()
    assert sock.getsockopt(SOL, option, 16) == struct.pack("ll", 0, 0)
    sock.setsockopt(SOL, option, struct.pack("ll", 2, 500_000))
    assert sock.getsockopt(SOL, option, 16) == struct.pack("ll", 2, 500_000)


@pytest.mark.parametrize(
    ("level", "option", "value", "number"),
    [
        (SOL, socket.SO_TYPE, 1, errno.ENOPROTOOPT),
        (SOL, socket.SO_ERROR, 1, errno.ENOPROTOOPT),
        (SOL, 9999, 1, errno.ENOPROTOOPT),
        (TCP, 9999, 1, errno.ENOPROTOOPT),
        (IP, 9999, 1, errno.ENOPROTOOPT),
        (TCP, socket.TCP_KEEPIDLE, 0, errno.EINVAL),
        (TCP, socket.TCP_KEEPCNT, 128, errno.EINVAL),
        (IP, socket.IP_TTL, 256, errno.EINVAL),
        (TCP, socket.TCP_NODELAY, b"x", errno.EINVAL),
        (SOL, socket.SO_LINGER, b"xxxx", errno.EINVAL),
    ],
)
def test_what_is_refused(world, level, option, value, number):
    with pytest.raises(OSError) as error:
        world.socket().setsockopt(level, option, value)
    assert error.value.errno == number


def test_getting_what_is_not_there(world):
    for level in (SOL, TCP, IP):
        with pytest.raises(OSError) as error:
            world.socket().getsockopt(level, 9999)
        assert error.value.errno == errno.ENOPROTOOPT


def test_tcp_options_of_udp(world):
    sock = world.socket(socket.SOCK_DGRAM)
    for call in (
        lambda: sock.setsockopt(TCP, socket.TCP_NODELAY, 1),
        lambda: sock.getsockopt(TCP, socket.TCP_NODELAY),
    ):
        with pytest.raises(OSError) as error:
            call()
        assert error.value.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP)


def test_refusals_are_counted(world):
    if world.name == "kernel":
        pytest.skip("the client core counts")
    before = world.net.stats()["options_refused"]
    with pytest.raises(OSError):
        world.socket().setsockopt(SOL, 9999, 1)
    assert world.net.stats()["options_refused"] == before + 1


def test_connection_information(pair):
    subject, peer = pair
    subject.sendall(b"x" * 1000)
    assert peer.recv(1000)
    info = subject.getsockopt(TCP, socket.TCP_INFO, 104)
    assert info[0] == 1  # ESTABLISHED
    assert struct.unpack_from("<I", info, 16)[0] > 0  # tcpi_snd_mss


def test_options_hold_on_a_live_connection(pair):
    subject, peer = pair
    for level, option, value in SETTABLE:
        subject.setsockopt(level, option, value)
        assert subject.getsockopt(level, option) == value
    subject.setsockopt(TCP, socket.TCP_CORK, 0)
    subject.sendall(b"still works")
    assert peer.recv(100) == b"still works"


# Each option, with values that are usual, that are rounded, and that are errors: Linux says what is right.
VALUES = [-1, 0, 1, 2, 7, 100, 1000, 1 << 20, b"\x01", b""]
NUMBERS = {
    SOL: [*range(1, 20), 25, 29, 30, *range(32, 51), 52, *range(56, 58), 60, 62, 68, 72, 74, 75, 999],
    TCP: [*range(1, 20), *range(22, 37), 37, 99],
    IP: [*range(1, 4), *range(6, 16), *range(18, 27), 32, 33, 34, 49, 50, 51, 52, 99],
    17: [1, 99, 103, 104],  # UDP
    41: [16, 26, 67],  # IPv6, which these sockets have not
    255: [1],
}
# Not compared: times and sizes of the machine, and what is compared above.
OTHER = {
    (SOL, socket.SO_RCVBUF),
    (SOL, socket.SO_SNDBUF),
    (SOL, socket.SO_RCVTIMEO),
    (SOL, socket.SO_SNDTIMEO),
    (SOL, 32),  # SO_SNDBUFFORCE, SO_RCVBUFFORCE: who may is the machine's matter
    (SOL, 33),
    (SOL, 57),  # SO_COOKIE
    (TCP, 11),  # TCP_INFO
    (TCP, 13),  # TCP_CONGESTION
    (TCP, 23),  # TCP_FASTOPEN: how long the queue may be is the machine's matter
    (TCP, 24),  # TCP_TIMESTAMP
    (TCP, 26),  # TCP_CC_INFO
}


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def said(sock, level, option, value):
    """What setting it says, and getting it then."""
    return outcome(sock.setsockopt, level, option, value), outcome(sock.getsockopt, level, option, 16)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize("level", NUMBERS, ids=str)
def test_every_option_is_linux_s_or_is_refused(world, kind, level):
    """Never accepted and then different: what NEaT does not do is ENOPROTOOPT, and it is off."""
    if world.name == "kernel":
        pytest.skip("the one that the others are compared with")
    wrong = []
    for option in NUMBERS[level]:
        if (level, option) in OTHER:
            continue
        for value in VALUES:
            with socket.socket(socket.AF_INET, kind) as linux:
                usual = outcome(linux.getsockopt, level, option, 16)
                right = said(linux, level, option, value)
            found = said(world.socket(kind), level, option, value)
            world.close()
            refused = found[0] in ("ENOPROTOOPT", right[0] or "ENOPROTOOPT")
            if found != right and not (refused and found[1] in (usual, right[1], "ENOPROTOOPT")):
                wrong.append((option, value, "Linux", right, "NEaT", found))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_is_set_on_a_listener_is_set_on_its_connections(world):
    listener = world.listener()
    for level, option, value in (*SETTABLE, (SOL, socket.SO_RCVLOWAT, 3)):
        listener.setsockopt(level, option, value)
    listener.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 9))
    peer = world.peer_socket()
    peer.connect(listener.getsockname())
    subject = world.keep(listener.accept()[0])
    for level, option, value in (*SETTABLE, (SOL, socket.SO_RCVLOWAT, 3)):
        assert subject.getsockopt(level, option) == value, (level, option)
    assert subject.getsockopt(SOL, socket.SO_LINGER, 8) == struct.pack("ii", 1, 9)


@pytest.mark.parametrize(("seconds", "kept"), [(0, 0), (1, 1), (2, 3), (4, 7), (30, 31), (100, 127), (-1, 0)])
def test_defer_accept_is_rounded_to_retransmissions(world, seconds, kept):
    """tcp(7): and as Linux counts them, which begins with one second and stops doubling at 120."""
    sock = world.socket()
    sock.setsockopt(TCP, socket.TCP_DEFER_ACCEPT, seconds)
    assert sock.getsockopt(TCP, socket.TCP_DEFER_ACCEPT) == kept


def test_the_congestion_control_that_there_is(world):
    sock = world.socket()
    for name in (b"nosuch", b""):
        with pytest.raises(OSError) as error:
            sock.setsockopt(TCP, socket.TCP_CONGESTION, name)
        assert error.value.errno == (errno.ENOENT if name else errno.EINVAL)
    name = sock.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    assert name == b"reno" or world.name == "kernel"
    sock.setsockopt(TCP, socket.TCP_CONGESTION, name)


def test_each_socket_has_a_cookie_of_its_own(world):
    first, second = world.socket(), world.socket()
    assert len(first.getsockopt(SOL, 57, 8)) == 8
    assert first.getsockopt(SOL, 57, 8) != second.getsockopt(SOL, 57, 8)
    assert first.dup().getsockopt(SOL, 57, 8) == first.getsockopt(SOL, 57, 8)


def test_memory_information(pair):
    subject, peer = pair
    peer.sendall(b"x" * 100)
    assert select.select([subject], [], [], 10)[0]
    words = struct.unpack("9I", subject.getsockopt(SOL, 55, 36))  # SO_MEMINFO
    assert words[0] >= 100
    assert words[1] == subject.getsockopt(SOL, socket.SO_RCVBUF)
    assert words[3] == subject.getsockopt(SOL, socket.SO_SNDBUF)
