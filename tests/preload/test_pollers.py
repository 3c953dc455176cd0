"""Pollers that get in each other's way: threads in one instance, instances that share sockets or their
places, signal handlers."""

import pytest

from tests.preload.conftest import World
from tests.preload.test_epoll import TOOLS

pytestmark = pytest.mark.netns

MORE = """
import fcntl, queue, termios
CLOSED = 7  # TCP_CLOSE

def arrived(sock):
    # Something is there to be read; asked of the rings alone.
    for _ in range(2000):
        if struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]:
            return
        time.sleep(0.002)
    raise AssertionError("nothing came")

def refused(count, *instances):
    # Connections that do not come about, in each of the instances, which have not been asked since.
    socks = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        assert sock.connect_ex((PEER[0], 1)) == errno.EINPROGRESS
        for poll in instances:
            poll.register(sock, IN | OUT)
        socks.append(sock)
    for sock in socks:
        while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != CLOSED:
            time.sleep(0.002)
    return {sock.fileno(): sock for sock in socks}

def drain(poll):
    while poll.poll(0):
        pass
"""


def test_who_asks_without_sleeping_leaves_the_sleepers_their_bell(world: World) -> None:
    """One thread sleeps, another asks and hears the bell that was rung for both: the first one still
    hears the next."""
    world.python(
        TOOLS
        + MORE
        + """
socks = dial_many(1)
sock = next(iter(socks.values()))
poll = select.epoll()
poll.register(sock, IN | ET)
drain(poll)
heard = queue.SimpleQueue()
def take(ready, who):
    for fd, _ in ready:
        taken(sock)
        heard.put(who)
os.sched_setaffinity(0, {os.sched_getaffinity(0).pop()})
left = 30
while left:
    thread = in_thread(lambda: take(poll.poll(), "sleeper"))
    # It does not run while this one does.
    os.sched_setscheduler(thread.native_id, os.SCHED_IDLE, os.sched_param(0))
    sock.sendall(b"x")
    while heard.empty():
        take(poll.poll(0), "asker")
    drain(poll)
    if heard.get() == "asker":
        left -= 1
        sleeping(thread)
        sock.sendall(b"y")
        assert heard.get(timeout=5) == "sleeper"
    thread.join(5)
    assert not thread.is_alive()
"""
    )
