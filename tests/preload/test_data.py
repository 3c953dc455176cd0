"""Bytes in and out under the preload library: what tests/posix cannot see, and what needs a crowd."""

import ast
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.preload.conftest import World

pytestmark = pytest.mark.netns

LISTEN = """
import socket, sys
with socket.create_server(("10.77.0.1", int(sys.argv[1]))) as listener:
    print("ready", flush=True)
    sock = listener.accept()[0]
if sys.argv[2] == "reads":
    while piece := sock.recv(65536):
        print(piece, flush=True)
        sock.send(b"!")
else:
    sys.stdin.read()
"""


@contextlib.contextmanager
def listening(world: World, port: int, *, reads: bool) -> Iterator[Callable[[], list[bytes]]]:
    """The other end of one connection, which answers each piece that it reads, or reads none. Gives the
    pieces."""
    program = [sys.executable, "-c", LISTEN, str(port), "reads" if reads else "does not"]
    process = world.stack.popen_peer(*program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield lambda: [ast.literal_eval(line) for line in process.communicate(timeout=10)[0].splitlines()]
        finally:
            process.stdin.close()
            process.stdout.close()


def test_a_storm_of_signals_loses_and_hangs_nothing(world: World) -> None:
    """Handlers with and without SA_RESTART, while both rings fill up and run dry."""
    world.python("""
caught = 0
def count(*_):
    global caught
    caught += 1
for interrupts in (False, True):
    signal.signal(signal.SIGALRM, count)
    signal.siginterrupt(signal.SIGALRM, interrupts)
    sock = dial()
    data = os.urandom(6 << 20)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    writer = threading.Thread(target=sock.sendall, args=(data,))
    writer.start()
    found = bytearray()
    while len(found) < len(data):
        found += sock.recv(1 << 18)
    writer.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert found == data
assert caught > 10
""")


def test_readers_of_one_connection_all_make_progress(world: World) -> None:
    """One arrival may serve several sleepers; each gets what the others left."""
    world.python("""
sock = dial()
got, done = [], threading.Semaphore(0)
def take():
    for _ in range(50):
        part = sock.recv(1)
        assert len(part) == 1
        got.append(part)
        done.release()
readers = [in_thread(take) for _ in range(4)]
for size in (1, 2, 3, 94, 100):
    sock.sendall(b"x" * size)
    for _ in range(size):
        assert done.acquire(timeout=10), "a reader sleeps on bytes that are there"
for reader in readers:
    reader.join(10)
    assert not reader.is_alive()
""")


def test_readers_in_several_processes(world: World) -> None:
    world.python("""
sock = dial()
done, report = os.pipe()
children = []
for _ in range(3):
    if (pid := os.fork()) == 0:
        for _ in range(40):
            assert len(sock.recv(1)) == 1
            os.write(report, b".")
        os._exit(0)
    children.append(pid)
for size in (1, 2, 37, 80):
    sock.sendall(b"x" * size)
    for _ in range(size):
        assert os.read(done, 1) == b"."
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
""")


def test_a_killed_sleeper_keeps_nobody_from_waking(world: World) -> None:
    world.python("""
sock = dial()
if (pid := os.fork()) == 0:
    sock.recv(1)
    os._exit(1)
while open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "S":
    time.sleep(0.005)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
for _ in range(3):
    got = []
    reader = in_thread(lambda: got.append(sock.recv(100)))
    sock.sendall(b"still")
    reader.join(10)
    assert got == [b"still"]
""")


def test_shutdown_wakes_a_sender_that_found_no_room(world: World) -> None:
    with listening(world, 7011, reads=False):
        world.python("""
sock = socket.create_connection(("10.77.0.1", 7011))
failed = []
def send():
    try:
        while True:
            sock.sendall(bytes(1 << 20))
    except BrokenPipeError:
        failed.append(True)
sender = in_thread(send)
time.sleep(0.3)
sleeping(sender)
sock.shutdown(socket.SHUT_WR)
sender.join(10)
assert failed
""")


def test_more_comes_in_one_piece(world: World) -> None:
    """MSG_MORE: the peer gets what several sends wrote as one segment."""
    with listening(world, 7012, reads=True) as pieces:
        world.python("""
sock = socket.create_connection(("10.77.0.1", 7012))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(20):
    sock.send(b"head", socket.MSG_MORE)
    sock.send(b"er", socket.MSG_MORE)
    sock.send(b" body")
    assert sock.recv(1) == b"!"
sock.send(b"held", socket.MSG_MORE)
assert sock.recv(1) == b"!"      # not for ever
""")
        assert pieces() == [b"header body"] * 20 + [b"held"]


def test_peek_waits_for_all_of_it(world: World) -> None:
    world.python("""
sock = dial()
sock.sendall(b"ab")
assert sock.recv(2, socket.MSG_PEEK | socket.MSG_WAITALL) == b"ab"
got = []
reader = in_thread(lambda: got.append(sock.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL)))
sock.sendall(b"cd")
time.sleep(0.1)
assert not got
sock.sendall(b"ef")
reader.join(10)
assert got == [b"abcdef"] and sock.recv(10) == b"abcdef"
""")


def test_low_water_mark(world: World) -> None:
    """SO_RCVLOWAT (socket(7)): neither recv nor poll says anything before, and poll sleeps meanwhile."""
    world.python("""
import select
sock = dial()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 5)
poll = select.poll()
poll.register(sock, select.POLLIN)
sock.sendall(b"abc")
before = time.thread_time()
assert poll.poll(300) == []
assert time.thread_time() - before < 0.1, "poll spins"
got = []
reader = in_thread(lambda: got.append(sock.recv(100)))
sock.sendall(b"def")
reader.join(10)
assert got == [b"abcdef"], got
""")


def test_sendfile_of_a_large_file(world: World) -> None:
    world.python("""
import hashlib, tempfile
sock = dial()
with tempfile.TemporaryFile() as file:
    data = os.urandom(5 << 20) + b"odd"
    file.write(data)
    file.flush()
    file.seek(0)
    sender = threading.Thread(target=sock.sendfile, args=(file,))
    sender.start()
    found = hashlib.sha256()
    left = len(data)
    while left:
        part = sock.recv(1 << 18)
        found.update(part)
        left -= len(part)
    sender.join()
    assert found.digest() == hashlib.sha256(data).digest()
""")


def test_splice_moves_a_lot_both_ways(world: World) -> None:
    world.python("""
sock = dial()
data = os.urandom(3 << 20)
out, into = os.pipe()
back, answers = os.pipe()
def fill():
    view = memoryview(data)
    while view:
        view = view[os.write(into, view):]
    os.close(into)
def forward():
    while os.splice(out, sock.fileno(), 1 << 20):
        pass
def backward():
    left = len(data)
    while left:
        left -= os.splice(sock.fileno(), answers, min(left, 1 << 20))
threads = [threading.Thread(target=call, daemon=True) for call in (fill, forward, backward)]
for thread in threads:
    thread.start()
found = bytearray()
while len(found) < len(data):
    found += os.read(back, 1 << 16)
assert found == data
""")


def test_fast_open_connects_first(world: World) -> None:
    """RFC 7413 §3: without a cookie it is connect() and send()."""
    world.python("""
sock = socket.socket()
assert sock.sendto(b"first", socket.MSG_FASTOPEN, PEER) == 5
assert sock.recv(5, socket.MSG_WAITALL) == b"first"
fails(errno.EISCONN, sock.sendto, b"again", socket.MSG_FASTOPEN, PEER)
other = socket.socket()
other.setblocking(False)
fails(errno.EINPROGRESS, other.sendto, b"first", socket.MSG_FASTOPEN, PEER)
""")


def test_control_data_of_datagrams(world: World) -> None:
    world.python("""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((ADDRESS, 0))
info = (socket.IPPROTO_IP, 8, struct.pack("Iii", 0, 0, 0))      # IP_PKTINFO
assert sock.sendmsg([b"to ", b"itself"], [info], 0, sock.getsockname()) == 9
data, control, flags, sender = sock.recvmsg(5, 100)
assert (data, control, flags) == (b"to it", [], socket.MSG_TRUNC) and sender == sock.getsockname()
fails(errno.EINVAL, sock.sendmsg, [b"x"], [(socket.SOL_SOCKET, 0x77, b"abcd")], 0, sock.getsockname())
""")
