"""When there are no descriptors, memory, places for pollers or sockets left: calls say so, nothing leaks, and
all is well again afterwards."""

import pytest

from tests.preload.conftest import World

pytestmark = pytest.mark.netns


def test_no_descriptor_numbers(world: World) -> None:
    world.python("""
import fcntl, resource, select
null = os.open("/dev/null", os.O_RDONLY)
listener = socket.create_server((ADDRESS, 7300))
held, fresh, unbound = dial(), socket.socket(), socket.socket()
fresh.settimeout(5)
caller = socket.create_connection((ADDRESS, 7300))
before, limits = numbers_at_rest(), resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
hoard = []
while True:
    try:
        hoard.append(os.dup(null))
    except OSError as error:
        assert error.errno == errno.EMFILE
        break
for _ in range(50):
    fails(errno.EMFILE, socket.socket)
    fails(errno.EMFILE, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    fails(errno.EMFILE, os.dup, held.fileno())
    fails(errno.EMFILE, fcntl.fcntl, held.fileno(), fcntl.F_DUPFD, 0)
    fails(errno.EMFILE, select.epoll)
    fails(errno.EMFILE, listener.accept)
    fails(errno.EMFILE, fresh.connect, PEER)
    fails(errno.EMFILE, unbound.bind, (ADDRESS, 7301))
ask(held, b"goes on")
for fd in hoard:
    os.close(fd)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
assert numbers() == before, (numbers(), before)
fresh.connect(PEER)
ask(fresh, b"works")
unbound.bind((ADDRESS, 7301))
other, _ = listener.accept()
caller.sendall(b"waited")
assert other.recv(10) == b"waited"
""")


def test_no_memory(world: World) -> None:
    """The segments do not fit; then they do."""
    world.python("""
import resource
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
socket.socket().close()
before = numbers()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
for _ in range(20):
    fails(errno.ENOMEM, dial)
found = [fd for fd in numbers() if fd not in before]
assert len(found) <= 1, "more than the connection to the syscall server"
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ask(dial(), b"works")
""")


def test_more_instances_than_places_for_pollers(world: World) -> None:
    world.python("""
import select
for _ in range(2):
    found = []
    for n in range(40):
        sock, ready = dial(), select.epoll()
        ready.register(sock, select.EPOLLIN)
        found.append((sock, ready))
    for sock, _ in found:
        sock.sendall(b"x")
    for sock, ready in found:
        assert ready.poll(10) == [(sock.fileno(), select.EPOLLIN)]
        assert sock.recv(10) == b"x" and not ready.poll(0)
    for sock, ready in found:
        sock.close()
        ready.close()
""")


def test_no_shared_sockets(world: World) -> None:
    world.python("""
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    found = []
    before = len(numbers_at_rest())
    for n in range(400):
        sock = socket.socket(socket.AF_INET, kind)
        try:
            sock.bind((ADDRESS, 8000 + n))
            if kind == socket.SOCK_STREAM:
                sock.listen()
        except OSError as error:
            assert error.errno in (errno.ENOBUFS, errno.ENFILE, errno.ENOMEM), error
            sock.close()
            break
        found.append(sock)
    else:
        raise AssertionError("it never ended")
    assert len(found) > 100, len(found)
    for sock in found:
        sock.close()
    assert len(numbers()) == before, (len(numbers()), before)
    for attempt in range(100):
        sock = socket.socket(socket.AF_INET, kind)
        try:
            sock.bind((ADDRESS, 9000))
            if kind == socket.SOCK_STREAM:
                sock.listen()
            break
        except OSError:
            sock.close()
            time.sleep(0.05)
    else:
        raise AssertionError("they are not free again")
    sock.close()
""")
