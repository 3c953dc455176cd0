"""poll and select under the preload library: exact, asleep while nothing happens, and beside epoll."""

import pytest

from tests.preload.conftest import World

pytestmark = pytest.mark.netns

QUIET = """
import select
def quiet(sockets, seconds=0.2):
    # Nothing is readable, and waiting for it costs nothing.
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    before = time.thread_time()
    assert poll.poll(seconds * 1000) == []
    assert select.select(sockets, [], [], seconds) == ([], [], [])
    assert time.thread_time() - before < seconds / 4, "it spins"
"""


def test_nothing_is_readable_after_all_was_read(world: World) -> None:
    """However a receive and the arrival of more overlap, no token stays behind."""
    world.python(
        QUIET
        + """
sock = dial()
for size in range(1, 400, 7):
    sock.sendall(bytes(size))
    left = size
    while left:
        left -= len(sock.recv(left))
    assert select.select([sock], [], [], 0)[0] == []
quiet([sock])
"""
    )


def test_nothing_is_lost_when_threads_race_for_it(world: World) -> None:
    world.python("""
import select
sock = dial()
sock.setblocking(False)
total, lock = [0], threading.Lock()
def take():
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while total[0] < 4000:
        if poll.poll(10000) == [] and total[0] < 4000:
            raise AssertionError(f"asleep with {total[0]}")
        try:
            part = sock.recv(3)
        except BlockingIOError:
            continue
        with lock:
            total[0] += len(part)
            if total[0] == 4000:
                sock.shutdown(socket.SHUT_RD)
threads = [threading.Thread(target=take, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(400):
    sock.send(b"0123456789")
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
""")


def test_beside_epoll(world: World) -> None:
    """A socket that an epoll instance watches is poll()ed, read in a blocking call, and watched again."""
    world.python(
        QUIET
        + """
sock = dial()
epoll = select.epoll()
epoll.register(sock, select.EPOLLIN)
for way in range(20):
    sock.sendall(b"again")
    assert [fd for fd, _ in epoll.poll(10)] == [sock.fileno()]
    assert select.select([sock], [], [], 10)[0] == [sock]
    assert select.select([epoll], [], [], 10)[0] == [epoll]
    got = b""
    while len(got) < 5:
        got += sock.recv(5 - len(got))
    assert epoll.poll(0) == []
quiet([sock, epoll])
reader = in_thread(lambda: sock.recv(5))
sock.sendall(b"wakes")
reader.join(10)
assert not reader.is_alive()
"""
    )


def test_numbers_beyond_fd_setsize(world: World) -> None:
    world.python("""
import ctypes, resource, select
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
libc = ctypes.CDLL(None, use_errno=True)
sock = dial()
os.dup2(sock.fileno(), 2500)
sets = (ctypes.c_ulong * 64)()
def only():
    ctypes.memset(sets, 0, ctypes.sizeof(sets))
    sets[2500 // 64] = 1 << 2500 % 64
    limit = (ctypes.c_long * 2)(0, 100000)
    return libc.select(2501, sets, None, None, limit), sets[2500 // 64] >> 2500 % 64, limit[1]
found, bit, left = only()
assert (found, bit) == (0, 0) and left == 0
sock.sendall(b"x")
select.select([sock], [], [], 10)
found, bit, left = only()
assert (found, bit) == (1, 1) and left > 0
many = (ctypes.c_int * 2 * 300)()
for i in range(300):
    many[i][0], many[i][1] = 2500 if i % 2 else -1, select.POLLIN
assert libc.poll(many, 300, 1000) == 150
sets[0] = 1 << 60
os.closerange(60, 61)
assert libc.select(2501, sets, None, None, None) == -1 and ctypes.get_errno() == errno.EBADF
""")


def test_datagrams(world: World) -> None:
    world.python(
        QUIET
        + """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((ADDRESS, 0))
for size in range(50):
    sock.sendto(bytes(size), sock.getsockname())
    assert select.select([], [sock], [], 10) == ([], [sock], [])
    assert select.select([sock], [], [], 10) == ([sock], [], [])
    assert len(sock.recv(100)) == size
quiet([sock])
"""
    )
