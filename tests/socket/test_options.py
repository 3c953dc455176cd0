"""Socket options: the kernel's sockets and NEaT's must do the same."""

import errno
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
