"""Undecided sockets, and what becomes of them when bind, listen, connect or a datagram says where they go."""

import pytest

from tests.preload.conftest import World, check

pytestmark = pytest.mark.netns


def test_an_undecided_socket_is_linux_s(world: World) -> None:
    check(
        world,
        """
sock = socket.socket()
assert not is_neat(sock) and sock.getsockname() == ("0.0.0.0", 0)
fails(errno.ENOTCONN, sock.getpeername)
fails(errno.ENOTCONN, sock.shutdown, socket.SHUT_WR)
fails(errno.EINVAL, sock.accept)
fails(errno.EPIPE, sock.send, b"x")
fails(errno.ENOTCONN, sock.recv, 1)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
fails(errno.ENOPROTOOPT, sock.setsockopt, socket.IPPROTO_TCP, 9999, 1)
copy = sock.dup()
sock.connect(PEER)
assert is_neat(sock) and is_neat(copy)
assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
ask(copy, b"over the other number")
""",
    )


def test_flags_and_timeouts_outlive_the_decision(world: World) -> None:
    check(
        world,
        """
sock = socket.socket()
os.set_inheritable(sock.fileno(), True)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100_000))
sock.connect(PEER)
assert os.get_inheritable(sock.fileno())
assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == struct.pack("ll", 0, 100_000)
fails(errno.EAGAIN, sock.recv, 1)
other = socket.socket()
other.setblocking(False)
assert other.connect_ex(PEER) in (0, errno.EINPROGRESS)
assert not os.get_blocking(other.fileno()) and not os.get_inheritable(other.fileno())
""",
    )


def test_what_the_stack_does_not_have_is_refused_before_it_is_decided(world: World) -> None:
    """So that nobody waits for what would be gone after connect(). The kernel's socket is not told."""
    check(
        world,
        """
ZEROCOPY, TIMESTAMPING = (socket.SOL_SOCKET, 60), (socket.SOL_SOCKET, 37)
MINTTL, SEGMENT, GRO = (socket.IPPROTO_IP, 21), (socket.IPPROTO_UDP, 103), (socket.IPPROTO_UDP, 104)
for kind, options in (
    (socket.SOCK_STREAM, (ZEROCOPY, TIMESTAMPING, MINTTL)),
    (socket.SOCK_DGRAM, (ZEROCOPY, TIMESTAMPING, MINTTL, SEGMENT, GRO)),
):
    sock = socket.socket(socket.AF_INET, kind)
    for option in options:
        fails(errno.ENOPROTOOPT, sock.setsockopt, *option, 1)
        assert sock.getsockopt(*option) == 0
        sock.setsockopt(*option, 0)
sock = socket.socket()
fails(errno.ENOENT, sock.setsockopt, socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"nonesuch")
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
fails(errno.EINVAL, sock.setsockopt, *ZEROCOPY, 7)
sock.connect(PEER)
assert is_neat(sock)
ask(sock, b"as before")
""",
    )


def test_a_socket_that_has_become_the_kernel_s_has_every_option(world: World) -> None:
    check(
        world,
        """
listener = socket.create_server(("127.0.0.1", 0))
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
sock.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
sock.connect(listener.getsockname())
assert not is_neat(sock) and sock.getsockopt(socket.SOL_SOCKET, 60) == 1
""",
    )


def test_what_is_about_multicast_is_the_kernel_s_to_answer(world: World) -> None:
    check(
        world,
        """
group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fails(errno.EADDRNOTAVAIL, sock.setsockopt, socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group)
sock.connect(PEER)
assert is_neat(sock)
""",
    )


def test_what_resolvers_cannot_do_without_is_taken(world: World) -> None:
    check(
        world,
        """
RECVERR, MTU_DISCOVER, OMIT = (socket.IPPROTO_IP, 11), (socket.IPPROTO_IP, 10), 5
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(*RECVERR, 1)
sock.setsockopt(*MTU_DISCOVER, OMIT)
sock.connect((PEER[0], 9))
assert is_neat(sock) and sock.getsockopt(*RECVERR) == 1 and sock.getsockopt(*MTU_DISCOVER) == OMIT
sock.send(b"x")
fails(errno.ECONNREFUSED, sock.recv, 1)
""",
    )


def test_a_bind_that_fails_leaves_the_socket_as_it_was(world: World) -> None:
    check(
        world,
        """
import fcntl
first = socket.create_server(("", 7101))
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
fcntl.fcntl(sock, fcntl.F_SETFL, os.O_NONBLOCK)
before = len(numbers())
fails(errno.EADDRINUSE, sock.bind, ("", 7101))
assert not is_neat(sock) and len(numbers()) == before
assert fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK
fails(errno.EADDRNOTAVAIL, sock.bind, ("10.1.2.3", 7102))
sock.bind(("127.0.0.1", 0))
assert not is_neat(sock) and sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
fails(errno.EINVAL, first.bind, ("", 7103))
""",
    )


def test_bound_to_the_wildcard_and_connected_to_either_side(world: World) -> None:
    check(
        world,
        """
server = socket.create_server(("127.0.0.1", 0))
for port, peer, stack in (7110, PEER, True), (7111, server.getsockname(), False):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    assert is_neat(sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    copy = sock.dup()
    sock.connect(peer)
    assert is_neat(sock) is stack and is_neat(copy) is stack
    assert sock.getsockname() == (ADDRESS if stack else "127.0.0.1", port)
    assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
accepted, _ = server.accept()
sock.sendall(b"through the kernel")
assert accepted.recv(100) == b"through the kernel"
# The stack's port is free again.
socket.create_server(("", 7111)).close()
""",
    )


def test_after_a_refused_connection_it_may_go_anywhere(world: World) -> None:
    check(
        world,
        """
server = socket.create_server(("127.0.0.1", 0))
for peer, stack in (PEER, True), (server.getsockname(), False):
    sock = socket.socket()
    assert sock.connect_ex((PEER[0], 9)) == errno.ECONNREFUSED
    assert sock.connect_ex(peer) == 0
    assert is_neat(sock) is stack
    assert sock.getpeername() == peer
""",
    )


def test_no_port_until_connect(world: World) -> None:
    """ip(7), IP_BIND_ADDRESS_NO_PORT."""
    check(
        world,
        """
sock = socket.socket()
sock.setsockopt(socket.IPPROTO_IP, 24, 1)
sock.bind((ADDRESS, 0))
assert is_neat(sock) and sock.getsockname() == (ADDRESS, 0)
sock.connect(PEER)
assert sock.getsockname()[1] > 0
ask(sock, b"x")
""",
    )


def test_many_threads_decide_the_same_socket(world: World) -> None:
    check(
        world,
        """
for _ in range(20):
    sock = socket.socket(type=socket.SOCK_DGRAM)
    errors = []
    def send():
        try:
            sock.sendto(b"x", (PEER[0], 7))
        except OSError as error:
            errors.append(error)
    threads = [threading.Thread(target=send) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join(10) for thread in threads]
    assert not errors and is_neat(sock), errors
    sock.close()
""",
    )


def test_an_epoll_instance_keeps_a_socket_that_is_decided_later(world: World) -> None:
    check(
        world,
        """
import select
server = socket.create_server(("127.0.0.1", 0))
for peer, bound in (PEER, False), (PEER, True), (server.getsockname(), False), (server.getsockname(), True):
    sock, epoll = socket.socket(), select.epoll()
    sock.setblocking(False)
    epoll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    epoll.poll(0)
    if bound:
        sock.bind(("", 0))
        fails(errno.EINVAL, sock.bind, ("", 0))
    assert sock.connect_ex(peer) in (0, errno.EINPROGRESS)
    assert is_neat(sock) is (peer == PEER)
    deadline = time.monotonic() + 10
    while not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) and time.monotonic() < deadline:
        if (sock.fileno(), select.EPOLLOUT) in epoll.poll(1):
            break
    else:
        raise AssertionError((peer, bound))
    if peer == PEER:
        sock.send(b"x")
    else:
        server.accept()[0].send(b"x")
    while not any(events & select.EPOLLIN for _, events in epoll.poll(10)):
        assert time.monotonic() < deadline
    assert sock.recv(1) == b"x"
""",
    )


def test_an_undecided_socket_in_parent_and_child(world: World) -> None:
    check(
        world,
        """
sock = socket.socket()
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
if not (child := os.fork()):
    sock.connect(PEER)
    assert is_neat(sock) and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    ask(sock, b"in the child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert not is_neat(sock)
sock.connect(PEER)
ask(sock, b"in the parent")
""",
    )
