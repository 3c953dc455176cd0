"""bind, listen, accept, connect and the names: where a socket goes, and that it is Linux's either way."""

import subprocess
import sys

import pytest

from tests.preload.conftest import KERNEL, PRELUDE, World, check

pytestmark = pytest.mark.netns


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
