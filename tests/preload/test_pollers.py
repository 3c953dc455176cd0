"""Pollers that get in each other's way: threads in one instance, instances that share sockets or their
places, signal handlers."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

def refused(poll):
    # A connection that does not come about, in an instance that was asked before that, and not since.
    while True:
        sock = socket.socket()
        sock.setblocking(False)
        assert sock.connect_ex((PEER[0], 1)) == errno.EINPROGRESS
        poll.register(sock, IN | OUT)
        if not poll.poll(0):
            break
        sock.close()
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != CLOSED:
        time.sleep(0.002)
    return sock

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


def test_an_instance_does_not_eat_what_is_meant_for_another(world: World) -> None:
    """A connection takes over the place of one that failed, which another instance still watches."""
    world.python(
        TOOLS
        + MORE
        + """
mine, others = select.epoll(), [select.epoll() for _ in range(6)]
gone = [refused(other) for other in others]
for sock in gone[::2]:
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
socks = dial_many(24)
for fd in socks:
    mine.register(fd, IN | ET)
drain(mine)
for _ in range(3):
    for fd, sock in socks.items():
        sock.sendall(b"x")
        arrived(sock)
        for other in others:
            other.poll(0)
        assert mine.poll(5) == [(fd, IN)]
        assert taken(sock) == b"x"
"""
    )


def test_a_failure_is_told_though_another_has_its_place(world: World) -> None:
    world.python(
        TOOLS
        + MORE
        + """
for _ in range(6):
    poll = select.epoll()
    gone = refused(poll)
    socks = dial_many(12)
    for fd in socks:
        poll.register(fd, IN)
    ready = dict(poll.poll(5))
    assert list(ready) == [gone.fileno()] and ready[gone.fileno()] & select.EPOLLERR
    assert gone.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    gone.close()
    for fd, sock in socks.items():
        sock.sendall(b"x")
        assert poll.poll(5) == [(fd, IN)]
        assert taken(sock) == b"x"
"""
    )


def test_instances_that_share_a_socket_both_hear(world: World) -> None:
    """Also when one of them drops it and takes it again."""
    world.python(
        TOOLS
        + MORE
        + """
sock = dial()
polls = [select.epoll() for _ in range(3)]
def both(*some):
    sock.sendall(b"x")
    for poll in some:
        assert poll.poll(5) == [(sock.fileno(), IN)], polls.index(poll)
    assert sock.recv(10) == b"x"
    for poll in some:
        assert not poll.poll(0)
polls[0].register(sock, IN)
both(polls[0])
polls[1].register(sock, IN)
both(*polls[:2])
for _ in range(3):
    polls[0].unregister(sock)
    polls[0].register(sock, IN)
    both(*polls[:2])
polls[2].register(sock, IN)
both(*polls)
polls[1].unregister(sock)
polls[2].unregister(sock)
both(polls[0])
"""
    )


def test_who_sleeps_in_recv_hears_of_bytes_though_an_instance_wants_them(world: World) -> None:
    world.python(
        TOOLS
        + MORE
        + """
sock = dial()
found = []
thread = in_thread(lambda: found.append(sock.recv(10)))
poll = select.epoll()
poll.register(sock, IN)
sock.sendall(b"hello")
thread.join(5)
assert found == [b"hello"]
sock.sendall(b"more")
assert poll.poll(5) == [(sock.fileno(), IN)]
"""
    )


@contextmanager
def late_messages(world: World) -> Iterator[None]:
    """Each message of a replica on a descriptor leaves 20 ms after it was due: tokens come too late."""
    pids = [str(world.stack.component(f"replica{slot}")["pid"]) for slot in range(2)]
    how = ["-e", "trace=sendto", "-e", "inject=sendto:delay_enter=20000"]
    tracer = subprocess.Popen(["strace", "-f", "-q", "-o", "/dev/null", *how, "-p", ",".join(pids)])
    try:
        for pid in pids:
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                assert tracer.poll() is None
                time.sleep(0.01)
        yield
    finally:
        tracer.terminate()
        tracer.wait(10)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace delays the replicas")
def test_a_token_that_comes_when_its_bytes_are_read_hides_no_other(world: World) -> None:
    with late_messages(world):
        world.python(
            TOOLS
            + MORE
            + """
sock = dial()
sock.setblocking(False)
polls = [select.epoll() for _ in range(2)]
for poll in polls:
    poll.register(sock, IN | ET)
    poll.poll(0.1)
for _ in range(3):
    sock.sendall(b"x")
    arrived(sock)
    assert taken(sock) == b"x"
    for poll in polls:
        poll.poll(0.1)
    sock.sendall(b"y")
    for poll in polls:
        assert poll.poll(5), polls.index(poll)
    taken(sock)
"""
        )


@pytest.mark.parametrize("what", ["member", "socket"])
def test_a_handler_closes_what_the_program_works_on(
    world: World, compiled: Callable[[str], str], what: str
) -> None:
    assert world.run(compiled("closes_in_handler.c"), what).strip() == "done"
