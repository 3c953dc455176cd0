"""Listening sockets that share a port or wait for data, and ports that are bound and connected from."""

import subprocess

import pytest

from tests.support import running_stack, wait_for

pytestmark = pytest.mark.netns

SHARED = """
import neat.socket as socket, os
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("0.0.0.0", 90))
listener.listen(64)
print("ready", flush=True)
while True:
    sock, _ = listener.accept()
    sock.sendall(b"%d" % os.getpid())
    sock.close()
"""

ASK = """
import socket
found = []
for _ in range(60):
    with socket.create_connection(("10.77.0.2", 90), timeout=10) as sock:
        found.append(sock.recv(20).decode())
print(*found)
"""

DEFERRING = """
import neat.socket as socket, select
listener = socket.create_server(("0.0.0.0", 91))
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
listener.listen(16)
print("ready", flush=True)
while True:
    sock, _ = listener.accept()
    print(sock.recv(10).decode(), flush=True)
"""

SILENT_AND_TALKING = """
import socket
silent = socket.create_connection(("10.77.0.2", 91), timeout=10)
talking = socket.create_connection(("10.77.0.2", 91), timeout=10)
talking.sendall(b"first")
assert input() == "go on"
silent.sendall(b"second")
print("done", flush=True)
input()
"""

BOUND = """
import errno, neat.socket as socket, time
def bound():
    sock = socket.socket()
    sock.bind(("0.0.0.0", 4000))
    return sock
sock = bound()
print("ready", flush=True)
sock.connect(("10.77.0.1", 92))
try:
    bound()
    print("twice", flush=True)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
sock.recv(1)
sock.close()
deadline = time.monotonic() + 20
while True:
    try:
        bound().close()
        break
    except OSError as error:
        assert error.errno == errno.EADDRINUSE and time.monotonic() < deadline, error
        time.sleep(0.01)
print("free", flush=True)
"""

PEER = """
import socket
with socket.create_server(("10.77.0.1", 92)) as listener:
    print("ready", flush=True)
    sock, address = listener.accept()
    assert address == ("10.77.0.2", 4000), address
    assert input() == "close"
    sock.close()
"""


def test_reuseport_over_processes(python_on_stack):
    """Applications of one user share a port; when one is gone the other has it all."""
    with running_stack(replicas=2) as stack:
        servers = [python_on_stack(stack, SHARED) for _ in range(2)]
        answers = stack.peer("python3", "-c", ASK).stdout.split()
        assert set(answers) == {str(server.pid) for server in servers}
        servers[0].kill()
        servers[0].wait()
        wait_for(lambda: len(listeners(stack, 90)) == 2, 10, "the dead one's listeners are gone")
        answers = stack.peer("python3", "-c", ASK).stdout.split()
        assert set(answers) == {str(servers[1].pid)}


def listeners(stack, port):
    rows = stack.sockets()
    return [row for row in rows if row["local"].endswith(f":{port}") and row["state"] == "LISTEN"]


def test_defer_accept(python_on_stack):
    """accept() sees the one that talks, not the one that was there before it."""
    with running_stack(replicas=1) as stack:
        server = python_on_stack(stack, DEFERRING)
        peer = stack.popen_peer(
            "python3", "-c", SILENT_AND_TALKING, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout.readline() == "first\n"
            peer.stdin.write("go on\n")
            peer.stdin.flush()
            assert server.stdout.readline() == "second\n"
            assert peer.stdout.readline() == "done\n"
        finally:
            peer.kill()
            peer.communicate()


def test_a_bound_port_is_taken_while_it_is_connected(python_on_stack):
    with running_stack(replicas=2) as stack:
        peer = stack.popen_peer(
            "python3", "-c", PEER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert peer.stdout.readline() == "ready\n"
            client = python_on_stack(stack, BOUND)
            assert client.stdout.readline() == "EADDRINUSE\n"
            peer.stdin.write("close\n")
            peer.stdin.flush()
            assert client.stdout.readline() == "free\n"
        finally:
            peer.kill()
            peer.communicate()
