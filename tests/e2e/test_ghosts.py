"""What an application leaves behind when its last process is gone, and what it may take from others."""

import select
import subprocess
import sys

import pytest

from tests.support import ROOT, running_stack, wait_for

pytestmark = pytest.mark.netns
PATIENCE_S = 60

# Its sockets' descriptors are real ones, so they can be sent like any: here past the library that knows them.
GHOST = """
import os, socket as kernel, sys
from neat import socket

def send(over, *socks):
    with kernel.socket(fileno=os.dup(over.fileno())) as end:
        kernel.send_fds(end, [b"!"], [sock.fileno() for sock in socks])

listener = socket.create_server(("10.77.0.2", 7000))
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("10.77.0.2", 7000))
connection = socket.create_connection(("10.77.0.1", int(sys.argv[1])))
send(listener, connection, datagrams)
send(connection, listener)
send(datagrams, datagrams, connection)
"""

SERVER = """
import socket, time
listener = socket.create_server(("10.77.0.1", 0))
print(listener.getsockname()[1], flush=True)
time.sleep(1000)
"""


def test_a_circle_of_sockets_ends_with_its_program():
    """A connection, a listener and a UDP socket hold each other, in queues that only the stack could read."""
    with running_stack(replicas=2, time_wait_ms=100) as stack:
        server = stack.popen_peer(sys.executable, "-c", SERVER, stdout=subprocess.PIPE, text=True)
        try:
            port = server.stdout.readline().strip()
            env = stack.env | {"NEAT_STACK": stack.name}
            subprocess.run([sys.executable, "-c", GHOST, port], env=env, cwd=ROOT, check=True, timeout=60)
            wait_for(lambda: not stack.status()["applications"], PATIENCE_S, "the application is gone")

            def clean():
                replicas = stack.status()["replicas"]
                names = ("channels", "descriptors", "listeners", "spares", "udp_sockets")
                return all(not r["counters"].get(name) for r in replicas for name in names)

            wait_for(clean, PATIENCE_S, "its segments and its sockets are gone from the replicas")
        finally:
            server.kill()
            server.wait()


HOG = """
import errno, sys
from neat import socket
kept = []
try:
    for _ in range(2000):
        sock = socket.socket(type=getattr(socket, sys.argv[1]))
        sock.bind(("10.77.0.2", 0))
        if sys.argv[1] == "SOCK_STREAM":
            sock.listen(1)
        kept.append(sock)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_one_application_leaves_room_for_others(kind):
    with running_stack(replicas=1) as stack:
        env = stack.env | {"NEAT_STACK": stack.name}
        hogs = []
        try:
            for _ in range(2):
                command = [sys.executable, "-c", HOG, kind]
                hog = subprocess.Popen(
                    command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                hogs.append(hog)
                assert hog.stdout.readline() == "ENOBUFS\n"
            found = stack.status()["applications"]
            assert [app["sockets"] for app in found][0] >= 256
            assert found[0]["sockets"] == found[1]["sockets"]
        finally:
            for hog in hogs:
                hog.communicate(timeout=60)


GREEDY = """
import errno, sys
from neat import socket
listener = socket.create_server(("10.77.0.2", 7000), backlog=1000)
print("ready", flush=True)
kept = []
while sys.stdin.readline():
    kept.append(listener.accept())
try:
    socket.create_connection(("10.77.0.1", 7001))
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
kept.clear()
print("closed", flush=True)
listener.accept()
print("accepted", flush=True)
"""

PUSHER = """
import socket, sys
kept = []
for line in sys.stdin:
    try:
        sock = socket.create_connection(("10.77.0.2", 7000))
        sock.setblocking(False)
        sock.send(bytes(200_000))
        kept.append(sock)
    except OSError:
        pass
    print("sent", flush=True)
    if line == "last\\n":
        kept.clear()
"""


def test_one_application_has_a_limit_of_memory():
    """Connections that are not read take what their senders have, until there is no more for this one."""
    with running_stack(replicas=1, app_memory=1 << 24) as stack:
        env = stack.env | {"NEAT_STACK": stack.name}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        greedy = subprocess.Popen([sys.executable, "-c", GREEDY], env=env, cwd=ROOT, **pipes)
        pusher = stack.popen_peer(sys.executable, "-c", PUSHER, **pipes)

        def connect(word="more"):
            pusher.stdin.write(f"{word}\n")
            pusher.stdin.flush()
            assert pusher.stdout.readline() == "sent\n"

        def refused():
            for _ in range(50):
                connect()
            return stack.status()["replicas"][0]["counters"]["accept_no_memory"]

        try:
            assert greedy.stdout.readline() == "ready\n"
            for _ in range(60):
                connect()
                greedy.stdin.write("\n")
                greedy.stdin.flush()
            wait_for(refused, PATIENCE_S, "connections are reset")
            connect("last")
            greedy.stdin.close()
            assert greedy.stdout.readline() == "ENOBUFS\n"
            assert greedy.stdout.readline() == "closed\n"

            def accepted():
                connect()
                return select.select([greedy.stdout], [], [], 0.2)[0]

            wait_for(accepted, PATIENCE_S, "there is room again")
            assert greedy.stdout.readline() == "accepted\n"
        finally:
            for process in (greedy, pusher):
                process.kill()
                process.wait()
