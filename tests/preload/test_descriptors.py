"""Numbers of descriptors: closed, copied, replaced, passed over, while the sockets behind them go on."""

import pytest

from tests.preload.conftest import World

pytestmark = pytest.mark.netns


def test_dup2_swaps_two_connections(world: World) -> None:
    world.python("""
a, b = dial(), dial()
names = a.getsockname(), b.getsockname()
spare = os.dup(a.fileno())
os.dup2(b.fileno(), a.fileno())
os.dup2(spare, b.fileno())
os.close(spare)
assert (b.getsockname(), a.getsockname()) == names
a.sendall(b"from a")
b.sendall(b"from b")
assert a.recv(10) == b"from a" and b.recv(10) == b"from b"
ask(a, os.urandom(1 << 20))
""")


def test_a_file_replaces_a_socket_and_a_copy_lives_on(world: World) -> None:
    world.python("""
sock = dial()
number, copy = sock.detach(), None
copy = os.dup(number)
null = os.open("/dev/null", os.O_RDONLY)
os.dup2(null, number)
assert os.read(number, 10) == b""
ask(socket.socket(fileno=copy), b"the copy")
other = dial()
os.dup2(other.fileno(), null)
ask(socket.socket(fileno=null), b"a socket where a file was")
""")


def test_errors_are_those_of_linux(world: World) -> None:
    world.python("""
import fcntl
sock = dial()
number = sock.fileno()
fails(errno.EBADF, os.dup2, 500, number)
fails(errno.EBADF, os.dup2, number, 1 << 30)
fails(errno.EBADF, os.close, 500)
fails(errno.EINVAL, fcntl.fcntl, number, fcntl.F_DUPFD, 1 << 30)
assert os.dup2(number, number) == number
ask(sock, b"none of that hurt")
""")


def test_own_descriptors_are_not_there(world: World) -> None:
    """A program neither closes them nor is kept from their numbers."""
    world.python("""
import fcntl
first = dial()
hidden = [fd for fd in numbers() if fd >= 700]
assert hidden
null = os.open("/dev/null", os.O_RDONLY)
for fd in hidden:
    fails(errno.EBADF, os.close, fd)
    fails(errno.EBADF, os.dup, fd)
    fails(errno.EBADF, fcntl.fcntl, fd, fcntl.F_GETFL)
for fd in hidden:
    os.dup2(null, fd)
    assert os.read(fd, 1) == b""
ask(first, b"before")
ask(dial(), b"after")
""")


def test_all_descriptors_are_closed_by_name_or_range(world: World) -> None:
    world.python("""
dial(), dial()
os.closerange(3, 65536)
left = numbers()
ask(dial(), b"the stack is still there")
assert not [fd for fd in left if 3 < fd < 700], left
for fd in range(3, 1024):
    try:
        os.close(fd)
    except OSError:
        pass
ask(dial(), b"and again")
""")


@pytest.mark.parametrize("wake", ["data", "end"])
def test_close_while_another_thread_receives(world: World, wake: str) -> None:
    """Linux: the call keeps the file, the number is free at once."""
    world.python(
        """
before = numbers_at_rest()
sock, found = dial(), []
number, copy = sock.fileno(), os.dup(sock.fileno())
thread = in_thread(lambda: found.append(sock.recv(100)))
os.close(number)
reused = os.open("/dev/zero", os.O_RDONLY)
assert reused == number
other = socket.socket(fileno=copy)
if sys.argv[1] == "data":
    other.sendall(b"late")
else:
    other.shutdown(socket.SHUT_WR)
thread.join(10)
assert found == [b"late" if sys.argv[1] == "data" else b""], found
assert os.read(reused, 1) == b"\\0"
sock.detach()
other.close()
os.close(reused)
assert numbers() == before, (numbers(), before)
""",
        wake,
    )


def test_close_while_another_thread_accepts(world: World) -> None:
    running = world.start_python("""
listener = socket.create_server((ADDRESS, 8001))
number, found = listener.fileno(), []
thread = in_thread(lambda: found.append(listener._accept()))
os.close(number)
reused = os.open("/dev/zero", os.O_RDONLY)
print("ready", flush=True)
thread.join(20)
assert os.read(reused, 1) == b"\\0"
sock = socket.socket(fileno=found[0][0])
ask(sock, b"accepted all the same")
listener.detach()
""")
    world.peer("""
with socket.create_connection((ADDRESS, 8001)) as sock:
    sock.sendall(sock.recv(100))
""")
    assert running.wait(20) == 0


def test_flags_and_counts(world: World) -> None:
    world.python("""
import array, fcntl, termios
FIONBIO, SIOCATMARK, SIOCGIFCONF = 0x5421, 0x8905, 0x8912
sock = dial()
copy = socket.socket(fileno=os.dup(sock.fileno()))
fcntl.fcntl(sock, fcntl.F_SETFL, os.O_NONBLOCK)
assert fcntl.fcntl(copy, fcntl.F_GETFL) == os.O_RDWR | os.O_NONBLOCK
fails(errno.EAGAIN, os.read, copy.fileno(), 1)
fcntl.ioctl(copy, FIONBIO, struct.pack("i", 0))
assert fcntl.fcntl(sock, fcntl.F_GETFL) == os.O_RDWR
assert not fcntl.fcntl(os.dup(sock.fileno()), fcntl.F_GETFD) == 0     # Python's dup sets it
assert fcntl.fcntl(fcntl.fcntl(sock, fcntl.F_DUPFD, 100), fcntl.F_GETFD) == 0
assert fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 200) == 200
sock.sendall(b"12345")
assert os.read(200, 1) == b"1"
count = array.array("i", [77])
fcntl.ioctl(sock, termios.FIONREAD, count)
assert count[0] == 4
fcntl.ioctl(sock, SIOCATMARK, count)
assert count[0] == 0
fcntl.ioctl(sock, SIOCGIFCONF, struct.pack("iL", 0, 0))
fails(errno.ENOTTY, fcntl.ioctl, sock, termios.TCGETS, b"." * 100)
assert not os.isatty(sock.fileno())
listener = socket.create_server((ADDRESS, 8002))
fails(errno.EINVAL, fcntl.ioctl, listener, termios.FIONREAD, b"....")
""")


def test_few_descriptors(world: World) -> None:
    """RLIMIT_NOFILE 64: most of them are the application's, and the one too many is EMFILE."""
    world.python("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
kept = []
try:
    while True:
        kept.append(dial())
except OSError as error:
    assert error.errno == errno.EMFILE, error
assert len(kept) > 48, len(kept)
for sock in kept:
    ask(sock, b"works")
while kept:
    kept.pop().close()
ask(dial(), b"works again")
""")


def test_connections_leave_no_descriptor(world: World) -> None:
    world.python("""
before = numbers_at_rest()
for _ in range(200):
    dial().close()
assert numbers() == before, (numbers(), before)
""")
