"""bind, listen, accept, connect and the names: where a socket goes, and that it is Linux's either way."""

import subprocess
import sys

import pytest

from tests.preload.conftest import PRELUDE, World

pytestmark = pytest.mark.netns

KERNEL = """
def is_neat(sock):
    # A socket on NEaT is a unix socket to the kernel, whatever libc is told.
    import ctypes
    number, size = ctypes.c_int(), ctypes.c_uint32(4)
    getsockopt, so_domain = 55, 39  # x86-64
    call = getsockopt, sock.fileno(), socket.SOL_SOCKET, so_domain, ctypes.byref(number), ctypes.byref(size)
    assert ctypes.CDLL(None).syscall(*call) == 0
    return number.value == socket.AF_UNIX
"""


def check(world: World, script: str) -> None:
    world.python(KERNEL + script)


def test_a_wildcard_listener_is_on_the_stack_and_a_loopback_one_is_not(world: World) -> None:
    check(
        world,
        """
wild, loop, own = (socket.create_server((host, 0)) for host in ("", "127.0.0.1", ADDRESS))
assert is_neat(wild) and is_neat(own) and not is_neat(loop)
assert wild.getsockname()[0] == "0.0.0.0" and own.getsockname()[0] == ADDRESS
assert wild.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
assert wild.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET
with socket.create_connection(loop.getsockname()) as client:
    assert not is_neat(client)
""",
    )


def test_listen_without_bind(world: World) -> None:
    check(
        world,
        """
for family in socket.AF_INET, socket.AF_INET6:
    sock = socket.socket(family)
    sock.listen()
    assert is_neat(sock) and sock.getsockname()[1] > 0
""",
    )


def test_kinds_of_sockets_that_are_never_ours(world: World) -> None:
    check(
        world,
        """
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
for sock in (*socket.socketpair(), socket.socket(socket.AF_UNIX), netlink):
    domain = sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
    assert domain == sock.family
fails(errno.ESOCKTNOSUPPORT, socket.socket, socket.AF_INET, socket.SOCK_SEQPACKET)
fails(errno.EPROTONOSUPPORT, socket.socket, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)
""",
    )


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


def test_datagrams(world: World) -> None:
    check(
        world,
        """
kernel = socket.socket(type=socket.SOCK_DGRAM)
kernel.bind(("127.0.0.1", 0))
for peer, stack in ((PEER[0], 7), True), (kernel.getsockname(), False):
    first, second = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
    assert first.sendto(b"x", peer) == 1
    second.connect(peer)
    assert is_neat(first) is stack and is_neat(second) is stack
    assert second.getsockname()[0] == (ADDRESS if stack else "127.0.0.1")
    assert first.getsockname()[0] == "0.0.0.0" and first.getsockname()[1] > 0
    assert second.getpeername() == peer
    fails(errno.ENOTCONN, first.getpeername)
assert kernel.recv(10) == b"x"
sock = socket.socket(type=socket.SOCK_DGRAM)
fails(errno.EDESTADDRREQ, sock.send, b"x")
assert not is_neat(sock)
# One socket cannot be on both sides.
second = socket.socket(type=socket.SOCK_DGRAM)
second.bind(("", 0))
fails(errno.ENETUNREACH, second.sendto, b"x", kernel.getsockname())
second.connect(kernel.getsockname())
second.send(b"moved")
assert kernel.recvfrom(10) == (b"moved", second.getsockname())
""",
    )


def test_ipv6_sockets_with_ipv4_addresses(world: World) -> None:
    running = world.start_python(
        KERNEL
        + """
listener = socket.create_server(("::", 7120), family=socket.AF_INET6, dualstack_ipv6=True)
assert is_neat(listener) and listener.getsockname()[:2] == ("::", 7120)
only = socket.create_server(("::", 7121), family=socket.AF_INET6)
print("ready", flush=True)
assert only.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1 and not is_neat(only)
sock, name = listener.accept()
assert name == sock.getpeername() and name[0] == "::ffff:10.77.0.1", name
assert sock.getsockname()[:2] == ("::ffff:10.77.0.2", 7120)
assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET6
assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
ask(sock, b"x")
client = socket.socket(socket.AF_INET6)
client.connect(("::ffff:10.77.0.1", 7000))
assert is_neat(client) and client.getpeername()[0] == "::ffff:10.77.0.1"
ask(client, b"mapped")
datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
datagram.connect(("::ffff:10.77.0.1", 7))
assert is_neat(datagram) and datagram.getsockname()[0] == "::ffff:10.77.0.2"
"""
    )
    world.peer("""
with socket.create_connection((ADDRESS, 7120)) as sock:
    sock.sendall(sock.recv(100))
    sock.recv(1)
""")
    assert running.wait(30) == 0


def test_address_arguments(world: World) -> None:
    """What Linux says to addresses that are none, before and after the decision."""
    check(
        world,
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def name(family, port, host, length):
    text = struct.pack("<H", family) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(20)
    return ctypes.c_char_p(text), length
def call(function, sock, *address):
    ctypes.set_errno(0)
    return ctypes.get_errno() if getattr(libc, function)(sock.fileno(), *address) < 0 else 0
AF = socket.AF_INET
for on_stack in False, True:
    sock = socket.socket()
    if on_stack:
        sock.bind((ADDRESS, 0))
    assert call("connect", sock, *name(AF, 7000, PEER[0], 8)) == errno.EINVAL
    assert call("connect", sock, *name(99, 7000, PEER[0], 16)) == errno.EAFNOSUPPORT
    assert call("bind", sock, *name(AF, 0, "0.0.0.0", 8)) == errno.EINVAL
    small = ctypes.create_string_buffer(16)
    size = ctypes.c_uint32(4)
    assert libc.getsockname(sock.fileno(), small, ctypes.byref(size)) == 0 and size.value == 16
    assert small.raw[4:] == bytes(12)
    size = ctypes.c_int(-1)
    assert call("getsockname", sock, small, ctypes.byref(size)) == errno.EINVAL
sock = socket.socket()
assert call("bind", sock, *name(socket.AF_UNSPEC, 0, "10.1.2.3", 16)) == errno.EAFNOSUPPORT
assert call("bind", sock, *name(socket.AF_UNSPEC, 0, "0.0.0.0", 16)) == 0 and is_neat(sock)
sock = socket.socket()
sock.connect(PEER)
assert sock.connect_ex(PEER) == errno.EISCONN
fails(errno.EINVAL, sock.listen)
fails(errno.EINVAL, sock.accept)
fails(errno.EINVAL, sock.bind, ("", 0))
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("", 0))
fails(errno.EOPNOTSUPP, udp.listen)
fails(errno.EOPNOTSUPP, udp.accept)
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


def test_nothing_is_left_of_many_sockets(world: World) -> None:
    check(
        world,
        """
before = numbers_at_rest()
server = socket.create_server(("127.0.0.1", 0))
for _ in range(40):
    one, two, three = socket.socket(), socket.socket(), socket.socket()
    one.connect(PEER)
    two.bind(("", 0))
    three.bind(("", 0))
    three.connect(server.getsockname())
    fourth = socket.socket(type=socket.SOCK_DGRAM)
    fourth.sendto(b"x", (PEER[0], 7))
    for sock in one, two, three, fourth:
        sock.close()
server.close()
assert numbers() == before, (before, numbers())
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


BOTH = """
def pairs():
    # (subject, what feeds it) of a connection of the kernel's, and of one on the stack, whose peer echoes.
    server = socket.create_server(("127.0.0.1", 0))
    subject = socket.create_connection(server.getsockname())
    peer = server.accept()[0]
    yield subject, peer.sendall
    subject = dial()
    yield subject, subject.sendall
"""


def test_a_receive_waits_for_its_low_water_mark(world: World) -> None:
    check(
        world,
        BOTH
        + """
import select
for subject, feed in pairs():
    subject.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 4)
    found = []
    reader = in_thread(lambda: found.append(subject.recv(100)))
    feed(b"abc")
    feed(b"d")
    reader.join(10)
    assert found == [b"abcd"], found
    subject.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    feed(b"e")
    assert select.select([subject], [], [], 10)[0] and subject.recv(100) == b"e"
""",
    )


def test_close_lingers_until_all_is_acknowledged(world: World) -> None:
    """socket(7), SO_LINGER: close() waits (Linux: a nonblocking one, too), but not for ever."""
    server = world.stack.popen_peer(
        sys.executable,
        "-c",
        """
import socket
slow, control = socket.socket(), socket.create_server(("10.77.0.1", 7131))
slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
slow.bind(("10.77.0.1", 7130))
slow.listen()
print("ready", flush=True)
socks = []
for _ in range(3):
    socks.append(slow.accept()[0])
    control.accept()
    while len(socks) < 3 and socks[-1].recv(100_000):
        pass
""",
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    world.python("""
def closing(seconds, blocking):
    sock = socket.create_connection((PEER[0], 7130))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
    sock.sendall(b"x" * 60_000)
    sock.setblocking(blocking)
    return in_thread(sock.close)

for blocking in True, False:
    closer = closing(20, blocking)
    closer.join(0.3)
    assert closer.is_alive()
    socket.create_connection((PEER[0], 7131))  # now it reads
    closer.join(15)
    assert not closer.is_alive()
began = time.monotonic()
closing(1, True).join(15)
assert 0.9 < time.monotonic() - began < 15
socket.create_connection((PEER[0], 7131))
""")
    assert server.wait(20) == 0


def test_without_a_stack_it_fails_at_once(world: World) -> None:
    script = """
fails(errno.ENETDOWN, socket.create_connection, PEER)
sock = socket.socket()
fails(errno.ENETDOWN, sock.bind, ("", 0))
sock.bind(("127.0.0.1", 0))
udp = socket.socket(type=socket.SOCK_DGRAM)
fails(errno.ENETDOWN, udp.sendto, b"x", PEER)
"""
    env = {**world.stack.env, "LD_PRELOAD": str(library()), "NEAT_RUN_DIR": "/nonexistent"}
    subprocess.run([sys.executable, "-c", PRELUDE + script], env=env, check=True, timeout=20)


def library() -> str:
    from tests.support import ROOT

    return str(ROOT / "neat/shim/libneat.so")
