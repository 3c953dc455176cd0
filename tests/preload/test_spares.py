"""Descriptors whose pair has served another connection before: nothing of that one is left, and processes
that have no such pair get one."""

import json
import subprocess
import sys

import pytest

from tests.preload.conftest import PRELUDE, World

pytestmark = pytest.mark.netns

SERVER = """
import fcntl, select
PORT = 8010
listener = socket.create_server((ADDRESS, PORT), backlog=200)
print("ready", flush=True)

def serve(sock, end=True):
    # What the peer said, and we say it again.
    sock.settimeout(10)
    text = sock.recv(100)
    sock.sendall(text)
    if end:
        sock.close()
    return text

def serve_many(count):
    for _ in range(count):
        sock, _ = listener.accept()
        serve(sock)
"""

CALLER = """
import sys
def call(count, at_once=1):
    for first in range(0, count, at_once):
        socks = [socket.create_connection((ADDRESS, 8010), 10) for _ in range(at_once)]
        for n, sock in enumerate(socks):
            sock.sendall(b"number %d" % n)
        for n, sock in enumerate(socks):
            assert sock.recv(100) == b"number %d" % n, n
            assert sock.recv(100) == b""
            sock.close()
"""


def counter(world: World, name: str) -> int:
    """In all replicas."""
    status = json.loads(world.stack.neat("status", "-j").stdout)
    return sum(part["counters"][name] for part in status["replicas"])


def talk(world: World, server: str, *callers: str) -> str:
    """A server program, and callers one after another at the wire's other end; what the server said last."""
    program = world.start_python(SERVER + server)
    try:
        for caller in callers:
            world.peer(CALLER + caller)
        said, _ = program.communicate(timeout=30)
    finally:
        program.kill()
        program.wait(10)
    assert program.returncode == 0
    return said


def test_most_connections_of_a_server_get_one(world: World) -> None:
    """Under the lowest free number each, and with few descriptors behind them."""
    before = counter(world, "pairs_reused")
    said = talk(
        world,
        """
serve_many(300)
lowest = os.dup(0)
os.close(lowest)
sock, _ = listener.accept()
assert sock.fileno() == lowest, (sock.fileno(), lowest)
serve(sock)
serve_many(400)
assert len(numbers()) <= 80, numbers()
print("done")
""",
        "call(701)",
    )
    assert said == "done\n"
    assert counter(world, "pairs_reused") - before > 150


def test_most_connections_of_a_prefork_server_get_one(world: World) -> None:
    """Whichever of its workers takes them: each has some of its own."""
    before = counter(world, "pairs_reused")
    talk(
        world,
        """
workers = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        while True:
            sock, _ = listener.accept()
            if serve(sock) == b"the end":
                os._exit(0)
    workers.append(child)
for child in workers:
    assert os.waitpid(child, 0)[1] == 0
""",
        "call(800, 8)",
        """
for _ in range(3):
    sock = socket.create_connection((ADDRESS, 8010), 10)
    sock.sendall(b"the end")
    assert sock.recv(100) == b"the end"
""",
    )
    assert counter(world, "pairs_reused") - before > 150


@pytest.mark.parametrize("how", ["poll", "select", "epoll", "recv"])
def test_it_is_as_a_new_one(world: World, how: str) -> None:
    """Blocking or not, in every kind of wait, with all that was set on the one before it gone."""
    wait = {
        "poll": "p = select.poll(); p.register(sock, select.POLLIN); assert p.poll(10000)",
        "select": "assert select.select([sock], [], [], 10)[0]",
        "epoll": "p = select.epoll(); p.register(sock, select.EPOLLIN); assert p.poll(10)",
        "recv": "assert os.get_blocking(sock.fileno())",
    }[how]
    talk(
        world,
        f"""
for turn in range(400):
    listener.setblocking(turn % 3 > 0)
    if turn % 3 == 0:
        assert select.select([listener], [], [], 10)[0]
    fd, _ = listener._accept()
    sock = socket.socket(fileno=fd)
    assert os.get_blocking(fd)
    assert not os.get_inheritable(fd)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
    assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
    {wait}
    assert sock.recv(100).startswith(b"number")
    if turn % 5 == 1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))
    if turn % 5 == 2:
        sock.setblocking(False)
    if turn % 5 == 3:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC)
    if turn % 5 == 4:
        sock.shutdown(socket.SHUT_RD)
    sock.sendall(b"number 0")
    sock.close()
""",
        "call(400)",
    )


def test_a_copy_keeps_it_from_the_next_connection(world: World) -> None:
    """dup(), a forked child, another process: while one of them has it, it is that connection's."""
    talk(
        world,
        """
serve_many(300)
for turn in range(3):
    sock, _ = listener.accept()
    copy = sock.dup()
    sock.close()
    serve_many(2)
    serve(copy)
kept, _ = listener.accept()
assert kept.recv(100) == b"number 0"
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    assert theirs.recv(1) == b"x"
    kept.sendall(b"number 0")
    os._exit(0)
kept.close()
serve_many(5)
ours.send(b"x")
assert os.waitpid(child, 0)[1] == 0
""",
        "call(300)",
        "call(9, 3)",
        """
sock = socket.create_connection((ADDRESS, 8010), 10)
sock.sendall(b"number 0")
call(5)
assert sock.recv(100) == b"number 0"
assert sock.recv(100) == b""
""",
    )


def test_another_thread_forks_all_the_time(world: World) -> None:
    """Children have copies of whatever is open when they are born; none gets the next connection's."""
    talk(
        world,
        """
import threading
thread = threading.Thread(target=serve_many, args=(1600,))
thread.start()
children = []
while thread.is_alive() and len(children) < 5000:
    child = os.fork()
    if child == 0:
        time.sleep(0.01)
        os._exit(0)
    children.append(child)
    time.sleep(0.002)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
thread.join()
assert len(children) > 10
""",
        "call(1600, 8)",
    )


def waiting(count: int) -> str:
    """A caller with so many connections that are served only after all of them are there."""
    return f"call({count}, {count})"


@pytest.mark.parametrize("who", ["child", "both"])
def test_a_child_accepts_what_was_on_its_way_before_the_fork(world: World, who: str) -> None:
    """Its parent has those pairs, and may die: they are the child's connections, and nobody else's."""
    talk(
        world,
        f"""
WHO = {who!r}
"""
        + """
for _ in range(40):
    socks = [listener.accept()[0] for _ in range(8)]
    for sock in socks:
        serve(sock)
def all_there():
    # The peer says so when its connections are established: each has a message in the listener's queue.
    assert select.select([listener], [], [], 10)[0]
    time.sleep(0.3)
all_there()
child = os.fork()
if child == 0:
    found = [serve(listener.accept()[0]) for _ in range(8 if WHO == "child" else 4)]
    os._exit(0)
if WHO == "both":
    serve_many(4)
assert os.waitpid(child, 0)[1] == 0
serve_many(8)
""",
        "call(320, 8)",
        waiting(8),
        "call(8)",
    )


def test_a_program_after_exec_accepts_what_was_on_its_way(world: World) -> None:
    talk(
        world,
        """
for _ in range(40):
    for sock in [listener.accept()[0] for _ in range(8)]:
        serve(sock)
assert select.select([listener], [], [], 10)[0]
time.sleep(0.3)
listener.set_inheritable(True)
again = '''
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
for _ in range(16):
    sock, _ = listener.accept()
    text = sock.recv(100)
    sock.sendall(text)
    sock.close()
'''
os.execv(sys.executable, [sys.executable, "-c", again, str(listener.fileno())])
""",
        "call(320, 8)",
        waiting(8),
        "call(8)",
    )


def test_who_is_short_of_numbers_gives_them_back(world: World) -> None:
    """They are not the application's: it may open as many as its limit says."""
    talk(
        world,
        """
import resource
for _ in range(24):
    for sock in [listener.accept()[0] for _ in range(16)]:
        serve(sock)
highest = max(numbers())
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, highest + 1))
files = []
try:
    while True:
        files.append(os.dup(0))
except OSError as error:
    assert error.errno == errno.EMFILE
# All numbers are the application's now, but those of the library itself. Four of them for what waits:
assert len(files) > 16
for file in files[-4:]:
    os.close(file)
socks = [listener.accept()[0] for _ in range(4)]
for sock in socks:
    serve(sock)
""",
        "call(384, 16)",
        waiting(4),
    )


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_server_that_dies(world: World, number: str) -> None:
    """As on Linux: what it has accepted is closed, what waits is reset; over pairs that served others."""
    program = world.start_python(
        SERVER
        + """
for _ in range(40):
    for sock in [listener.accept()[0] for _ in range(8)]:
        serve(sock)
kept = [listener.accept()[0] for _ in range(4)]
for sock in kept:
    serve(sock, end=False)
time.sleep(60)
"""
    )
    world.peer(
        CALLER
        + f"""
call(320, 8)
kept = [socket.create_connection((ADDRESS, 8010), 10) for _ in range(4)]
for sock in kept:
    sock.sendall(b"there")
for sock in kept:
    assert sock.recv(100) == b"there"
late = [socket.create_connection((ADDRESS, 8010), 10) for _ in range(4)]
time.sleep(0.05)
os.kill({program.pid}, signal.{number})
for sock in kept:
    assert sock.recv(1) == b""
for sock in late:
    fails(errno.ECONNRESET, sock.recv, 1)
"""
    )
    program.wait(10)


def test_workers_that_die_at_any_moment(world: World) -> None:
    """Each of their connections is answered or reset, none is left to nobody."""
    said = talk(
        world,
        """
import random
random.seed(7)
def worker():
    child = os.fork()
    if child:
        return child
    while True:
        serve(listener.accept()[0])
control = socket.create_server((ADDRESS, 8011))
workers = [worker() for _ in range(3)]
while not select.select([control], [], [], random.uniform(0.01, 0.06))[0]:
    victim = random.randrange(3)
    os.kill(workers[victim], signal.SIGKILL)
    os.waitpid(workers[victim], 0)
    workers[victim] = worker()
print("over", flush=True)
for child in workers:
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
""",
        """
answered = 0
until = time.monotonic() + 3
while time.monotonic() < until:
    socks = [socket.create_connection((ADDRESS, 8010), 15) for _ in range(8)]
    for sock in socks:
        try:
            sock.sendall(b"hello")
            text = sock.recv(100)
        except (ConnectionResetError, BrokenPipeError):
            text = b""  # or in order: a process that dies has closed
        answered += text == b"hello"
        assert text in (b"hello", b"")
        sock.close()
assert answered > 200, answered
socket.create_connection((ADDRESS, 8011), 10).close()
""",
    )
    assert said == "over\n"


def test_who_never_waits_hears_of_a_dead_replica(mortal_world: World) -> None:
    """An accepted connection that is in no epoll instance, asked again and again."""
    program = mortal_world.start_python(
        SERVER
        + """
for _ in range(4):
    for sock in [listener.accept()[0] for _ in range(8)]:
        serve(sock)
socks = [listener.accept()[0] for _ in range(8)]
for sock in socks:
    sock.setblocking(False)
    fails(errno.EAGAIN, sock.recv, 1)
    sock.sendall(b"here")
print("asking", flush=True)
deadline = time.monotonic() + 10
dead = set()
while not dead and time.monotonic() < deadline:
    for sock in socks:
        try:
            sock.recv(1)
        except BlockingIOError:
            pass
        except ConnectionResetError:
            dead.add(sock)
    time.sleep(0.01)
print(len(dead), flush=True)
"""
    )
    killer = """
call(32, 8)
socks = [socket.create_connection((ADDRESS, 8010), 10) for _ in range(8)]
for sock in socks:
    assert sock.recv(100) == b"here"
print("there", flush=True)
sys.stdin.readline()
"""
    peer = mortal_world.stack.popen_peer(
        sys.executable, "-c", PRELUDE + CALLER + killer, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert peer.stdout is not None and program.stdout is not None
    try:
        assert peer.stdout.readline() == b"there\n" and program.stdout.readline() == "asking\n"
        for name in ("replica0", "replica1"):
            mortal_world.stack.neat("kill", name)
        assert 0 < int(program.stdout.readline()) <= 8
    finally:
        for process in (peer, program):
            process.kill()
            process.communicate()
