"""Where a replica's connections are lost with it, their peers hear of it, also those that only wait."""

import json
import select
import subprocess
import sys

import pytest

from tests.support import ROOT, each_datapath, running_stack, wait_for

pytestmark = [pytest.mark.netns, each_datapath]
PATIENCE_S = 120
COUNT = 90

SERVER = """
from neat import socket
import select
listener = socket.create_server(("10.77.0.2", 7000), backlog=200)
print("ready", flush=True)
poll, open_ones = select.poll(), {listener.fileno(): listener}
poll.register(listener.fileno(), select.POLLIN)
while True:
    for fd, _event in poll.poll():
        sock = open_ones[fd]
        if sock is listener:
            sock, _peer = listener.accept()
            open_ones[sock.fileno()] = sock
            poll.register(sock.fileno(), select.POLLIN)
            continue
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        if data:
            sock.send(data)
        else:
            poll.unregister(fd)
            open_ones.pop(fd).close()
"""

# A third of its connections say nothing at all, and hear nothing.
CLIENT = """
import errno, json, select, socket, sys
count = int(sys.argv[1])
socks = [socket.create_connection(("10.77.0.2", 7000)) for _ in range(count)]
for index, sock in enumerate(socks):
    if index % 3:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
ports = {sock.fileno(): sock.getsockname()[1] for sock in socks}
print(json.dumps(sorted(ports.values())), flush=True)
by_fd, poll = {sock.fileno(): sock for sock in socks}, select.poll()
for fd in by_fd:
    poll.register(fd, select.POLLIN)
poll.register(0, select.POLLIN)
while True:
    for fd, _event in poll.poll():
        if fd == 0:
            sys.stdin.readline()
            for sock in by_fd.values():
                sock.sendall(b"y")
                assert sock.recv(1) == b"y"
            print(json.dumps(sorted(ports[fd] for fd in by_fd)), flush=True)
            sys.exit()
        try:
            by_fd[fd].recv(1)
            what = "data"
        except OSError as error:
            what = errno.errorcode[error.errno]
        print(json.dumps([ports[fd], what]), flush=True)
        poll.unregister(fd)
        del by_fd[fd]
"""


def line_of(program):
    """Its next line. Without a limit, what hangs would be the test."""
    ready = select.select([program.stdout], [], [], PATIENCE_S)[0]
    assert ready, f"nothing was said within {PATIENCE_S} s"
    return program.stdout.readline()


@pytest.mark.parametrize("replicas", [1, 3])
def test_who_only_waits_hears_of_it(replicas, datapath):
    """With one replica it is its own successor that tells them."""
    with running_stack(replicas=replicas, recovery="stateless", datapath=datapath) as stack:
        env = stack.env | {"NEAT_STACK": stack.name}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        server = subprocess.Popen([sys.executable, "-c", SERVER], env=env, cwd=ROOT, **pipes)
        assert server.stdout.readline() == b"ready\n"
        client = stack.popen_peer(sys.executable, "-c", CLIENT, str(COUNT), **pipes)
        try:
            ports = set(json.loads(client.stdout.readline()))

            def established():
                rows = [row for row in stack.sockets() if row["state"] == "ESTAB"]
                found = {int(row["remote"].rpartition(":")[2]): row["replica"] for row in rows}
                return ports <= found.keys() and found

            # A client is connected before its last ACK has been read.
            owners = wait_for(established, PATIENCE_S, "all are established")
            victims = {port for port in ports if owners[port] == 0}
            assert victims
            old = stack.component("replica0")["pid"]
            stack.neat("kill", "replica0")
            told = dict(json.loads(line_of(client)) for _ in victims)
            assert told == dict.fromkeys(victims, "ECONNRESET")
            wait_for(lambda: stack.component("replica0")["pid"] != old, PATIENCE_S, "a successor")
            stack.wait_running()
            client.stdin.write(b"\n")
            assert set(json.loads(client.stdout.readline())) == ports - victims
        finally:
            for process in (client, server):
                process.kill()
                process.wait()
