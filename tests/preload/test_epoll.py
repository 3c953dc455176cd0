"""epoll on connections that are signalled in shared memory: no lost events, whoever else looks at the
sockets, whatever dies."""

import ctypes
import os
import signal
import time

import pytest

from tests.preload.conftest import World

pytestmark = pytest.mark.netns

PIDFD_GETFD = 438

TOOLS = """
import random, select
from select import EPOLLIN as IN, EPOLLOUT as OUT, EPOLLET as ET, EPOLLONESHOT as ONESHOT, EPOLLRDHUP as RDHUP
LONG = 10

def dial_many(count):
    socks = [dial() for _ in range(count)]
    for sock in socks:
        sock.setblocking(False)
    return {sock.fileno(): sock for sock in socks}

def taken(sock):
    # All that is there.
    found = b""
    while True:
        try:
            part = sock.recv(65536)
        except BlockingIOError:
            return found
        if not part:
            return found
        found += part

def rounds(poll, socks, count, rng, mode, seconds=20):
    # Each connection has `count` small messages echoed, one after another.
    left = {fd: count for fd in socks}
    awaited = {}
    def ask_one(fd):
        message = os.urandom(rng.randint(1, 200))
        awaited[fd] = [message, b""]
        socks[fd].sendall(message)
    for fd in socks:
        ask_one(fd)
    deadline = time.monotonic() + seconds
    while awaited:
        assert time.monotonic() < deadline, f"{len(awaited)} connections wait: {mode}"
        for fd, events in poll.poll(LONG, rng.choice((1, 3, 64))):
            if fd not in awaited:
                continue
            awaited[fd][1] += taken(socks[fd])
            message, found = awaited[fd]
            assert message.startswith(found)
            if found == message:
                del awaited[fd]
                left[fd] -= 1
                if left[fd]:
                    ask_one(fd)
            if fd in awaited and mode[fd] & ONESHOT:
                poll.modify(fd, mode[fd])
"""


@pytest.mark.parametrize("seed", range(3))
def test_no_event_is_lost(world: World, seed: int) -> None:
    """Echoes of many small messages over many connections, each with a mode of its own."""
    world.python(
        TOOLS
        + """
rng = random.Random(sys.argv[1])
socks = dial_many(40)
poll = select.epoll()
mode = {}
for fd in socks:
    mode[fd] = IN | rng.choice((0, ET, ONESHOT, ET | ONESHOT)) | rng.choice((0, RDHUP))
    poll.register(fd, mode[fd])
rounds(poll, socks, 200, rng, mode)
""",
        str(seed),
    )


def test_no_event_is_lost_between_two_ways_of_waiting(world: World) -> None:
    """Now and then a socket is polled, or read by a thread that sleeps in the call."""
    world.python(
        TOOLS
        + """
rng = random.Random(5)
socks = dial_many(20)
poll = select.epoll()
mode = {fd: IN | rng.choice((0, ET)) for fd in socks}
for fd in socks:
    poll.register(fd, mode[fd])
over = threading.Event()
def disturb():
    while not over.is_set():
        some = select.poll()
        some.register(rng.choice(list(socks)), select.POLLIN)
        some.poll(1)
        over.wait(0.002)
thread = threading.Thread(target=disturb)
thread.start()
try:
    rounds(poll, socks, 100, rng, mode)
finally:
    over.set()
    thread.join()
"""
    )


def test_threads_share_an_instance(world: World) -> None:
    """Each event goes to one that works on it, whoever sleeps."""
    world.python(
        TOOLS
        + """
socks = dial_many(24)
poll = select.epoll()
left = {fd: 100 for fd in socks}
done = threading.Semaphore(0)
for fd in socks:
    poll.register(fd, IN | ONESHOT)
def work():
    while True:
        for fd, _ in poll.poll(LONG, 2):
            if fd not in left:
                return
            if taken(socks[fd]):
                left[fd] -= 1
                if not left[fd]:
                    done.release()
                    continue
                socks[fd].sendall(b"x")
            poll.modify(fd, IN | ONESHOT)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for sock in socks.values():
    sock.sendall(b"x")
for _ in socks:
    assert done.acquire(timeout=20), left
stop, go = os.pipe()
poll.register(stop, IN)
os.write(go, b"x")
for thread in threads:
    thread.join(10)
    assert not thread.is_alive()
"""
    )


def test_a_thousand_connections(world: World) -> None:
    world.python(
        TOOLS
        + """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
socks = dial_many(1000)
poll = select.epoll()
for fd in socks:
    poll.register(fd, IN)
for sock in socks.values():
    sock.sendall(b"hello")
found = dict.fromkeys(socks, b"")
while any(data != b"hello" for data in found.values()):
    ready = poll.poll(LONG)
    assert ready
    for fd, _ in ready:
        found[fd] += taken(socks[fd])
assert not poll.poll(0)
for fd in list(socks)[::2]:
    poll.unregister(fd)
for sock in socks.values():
    sock.sendall(b"more")
waiting = set(list(socks)[1::2])
while waiting:
    for fd, _ in poll.poll(LONG):
        assert fd in list(socks)[1::2]
        taken(socks[fd])
        waiting.discard(fd)
"""
    )


def test_closing_an_instance_gives_everything_back(world: World) -> None:
    world.python(
        TOOLS
        + """
def once():
    poll = select.epoll()
    socks = dial_many(8)
    for fd in socks:
        poll.register(fd, IN)
    copy = os.dup(poll.fileno())
    poll.close()
    poll = select.epoll.fromfd(copy)
    for fd, sock in socks.items():
        sock.sendall(b"x")
    waiting = set(socks)
    while waiting:
        for fd, _ in poll.poll(LONG):
            taken(socks[fd])
            waiting.discard(fd)
    os.close(copy)
    for sock in socks.values():
        sock.close()
for _ in range(4):
    once()
before = numbers()
for _ in range(40):
    once()
assert numbers() == before
"""
    )


def test_another_process_reads_what_this_one_watches(world: World) -> None:
    """After a fork the child sleeps in recv: what comes wakes it, and the parent's instance goes on."""
    world.python(
        TOOLS
        + """
sock, other = dial(), dial()
poll = select.epoll()
poll.register(sock, IN | RDHUP)
poll.register(other, IN)
ask(sock, b"before")
ready, told = os.pipe()
child = os.fork()
if child == 0:
    os.write(told, b"x")
    os._exit(0 if sock.recv(10) == b"for you" else 1)
os.read(ready, 1)
for _ in range(1000):
    with open(f"/proc/{child}/stat") as file:
        if file.read().rsplit(")", 1)[1].split()[0] == "S":
            break
    time.sleep(0.005)
sock.sendall(b"for you")
assert os.waitpid(child, 0)[1] == 0
sock.sendall(b"mine")
assert poll.poll(LONG) == [(sock.fileno(), IN)]
assert sock.recv(10) == b"mine"
other.sendall(b"too")
assert poll.poll(LONG) == [(other.fileno(), IN)]
"""
    )


def sockets_of(pid: int) -> list[int]:
    """Copies of a process's sockets (pidfd_getfd(2)): they do not hang up when it dies."""
    process = os.pidfd_open(pid)
    copies = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            copies.append(ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, int(name), 0))
    os.close(process)
    assert copies and min(copies) >= 0
    return copies


@pytest.mark.parametrize("hung_up", [True, False], ids=["all at once", "bells first"])
def test_a_sleeper_hears_at_once_that_its_replica_died(mortal_world: World, hung_up: bool) -> None:
    """By its bell, also while the descriptors of its connections have not hung up yet."""
    stack = mortal_world.stack
    program = mortal_world.start_python(
        TOOLS
        + """
socks = dial_many(16)
poll = select.epoll()
for fd in socks:
    poll.register(fd, IN | RDHUP)
for sock in socks.values():
    sock.sendall(b"x")
waiting = set(socks)
while waiting:
    for fd, _ in poll.poll(LONG):
        taken(socks[fd])
        waiting.discard(fd)
print("ready", flush=True)
dead = set()
while len(dead) < 1 or poll.poll(0.2):
    events = poll.poll(LONG)
    assert events, "nothing was heard"
    for fd, what in events:
        assert what & (select.EPOLLERR | select.EPOLLHUP), what
        fails(errno.ECONNRESET, socks[fd].recv, 10)
        poll.unregister(fd)
        dead.add(fd)
for fd, sock in socks.items():
    if fd not in dead:
        sock.sendall(b"alive")
        assert poll.poll(LONG)
        assert taken(sock) == b"alive"
print(len(dead), flush=True)
"""
    )
    pid = stack.component("replica1")["pid"]
    kept = [] if hung_up else sockets_of(pid)
    started = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert program.stdout is not None
    died = int(program.stdout.readline() or -1)
    assert 0 < died < 16
    assert time.monotonic() - started < 10
    for fd in kept:
        os.close(fd)
    assert program.wait(20) == 0
    stack.wait_running()
