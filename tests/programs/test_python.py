"""Python's own servers: threads, processes, an event loop, and programs that they start."""

import sys

import pytest

from tests.programs.conftest import ADDRESS, fetch, run

pytestmark = pytest.mark.netns

PORT = 9000

# Echoes lines until the client has said all; answers with its process and thread.
ECHO = """
import os, socketserver, threading

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
        self.wfile.write(b"%d %d\\n" % (os.getpid(), threading.get_native_id()))

class Server(socketserver.{kind}, socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 64

with Server(("{bind}", {port}), Handler) as server:
    server.serve_forever()
"""

ASYNCIO = """
import asyncio, sys

async def talk(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"0 0\\n")
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(talk, "{bind}", {port})
    async with server:
        await server.serve_forever()

asyncio.run(main())
"""

# One process that waits for sockets, a timer and a child's pipe in one select.
SELECT = """
import select, socket, subprocess, sys

listener = socket.create_server(("{bind}", {port}))
code = "print(*range(5), sep=chr(10))"
child = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE)
pending, lines = dict(), []
while True:
    watched = [listener, *pending] + ([child.stdout] if child else [])
    for ready in select.select(watched, [], [])[0]:
        if ready is listener:
            connection, _ = listener.accept()
            pending[connection] = b""
        elif child and ready is child.stdout:
            line = child.stdout.readline()
            lines.append(line)
            if not line:
                assert child.wait() == 0
                child = None
        else:
            data = ready.recv(65536)
            ready.sendall(data or b"%d 0\\n" % len(lines))
            if not data:
                ready.close()
                del pending[ready]
"""

# One that hands each connection to a program of its own: as standard input and output, like inetd.
INETD = """
import socket, subprocess, sys

listener = socket.create_server(("{bind}", {port}))
children = []
while True:
    connection, _ = listener.accept()
    with connection:
        children.append(subprocess.Popen([sys.executable, "-c", CHILD], stdin=connection, stdout=connection))
    children = [child for child in children if child.poll() is None]
"""
CHILD = """
import os, sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
sys.stdout.buffer.write(b"%d 0\\n" % os.getpid())
"""

# Several connections at once, each with its own text in several pieces; prints what the last lines said.
CLIENT = """
import random, socket, sys, threading
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
said = []

def talk(number):
    text = b"".join(b"%d:%d %s\\n" % (number, i, b"x" * (i * 97 % 4000)) for i in range(60))
    with socket.create_connection((address, port), 20) as sock:
        sock.settimeout(20)
        writer = threading.Thread(target=lambda: (sock.sendall(text), sock.shutdown(socket.SHUT_WR)))
        writer.start()
        got = b"".join(iter(lambda: sock.recv(65536), b""))
        writer.join()
    assert got.startswith(text), (number, len(got), len(text))
    said.append(got[len(text):].decode().strip())

threads = [threading.Thread(target=talk, args=(i,)) for i in range(count)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(said) == count, said
print("\\n".join(said))
"""


def talk(stack, count=8, runner=None):
    """What the server said at the end of each connection, as pairs of numbers."""
    command = (sys.executable, "-S", "-c", CLIENT, ADDRESS, str(PORT), str(count))
    done = runner(stack, *command) if runner else stack.peer(*command)
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def python(code, bind=ADDRESS, **values):
    return sys.executable, "-u", "-c", code.format(bind=bind, port=PORT, **values)


@pytest.mark.parametrize("bind", [ADDRESS, "0.0.0.0"])
def test_http_server(stack, serve, content, www, bind):
    command = [sys.executable, "-u", "-m", "http.server", "--bind", bind, "--directory", str(www), "8000"]
    with serve(*command, port=8000) as server:
        for path, data in content.items():
            assert fetch(stack, server.url(path)) == data
    assert server.output().count('"GET ') == len(content)


def test_threads(stack, serve):
    with serve(*python(ECHO, kind="ThreadingMixIn"), port=PORT) as server:
        said = talk(stack)
        assert {pid for pid, _ in said} == {server.pid}
        assert len({thread for _, thread in said}) > 1


def test_a_process_for_each_connection(stack, serve):
    with serve(*python(ECHO, kind="ForkingMixIn"), port=PORT) as server:
        said = talk(stack)
        assert len({pid for pid, _ in said}) == 8
        assert server.pid not in {pid for pid, _ in said}


def test_asyncio(stack, serve):
    with serve(*python(ASYNCIO), port=PORT):
        assert talk(stack, 16) == [(0, 0)] * 16


def test_select_with_a_childs_pipe(stack, serve):
    with serve(*python(SELECT), port=PORT):
        assert talk(stack) == [(6, 0)] * 8


def test_connections_as_standard_input_and_output(stack, serve):
    with serve(*python(INETD.replace("CHILD", repr(CHILD).replace("{", "{{"))), port=PORT):
        assert len({pid for pid, _ in talk(stack, 4)}) == 4


@pytest.mark.parametrize("kind", ["ThreadingMixIn", "ForkingMixIn"])
def test_a_client_on_the_same_stack(stack, serve, kind):
    with serve(*python(ECHO, kind=kind), port=PORT):
        assert len(talk(stack, runner=run)) == 8


def test_a_killed_server_leaves_nothing(stack, serve):
    command = python(ECHO, kind="ThreadingMixIn")
    with serve(*command, port=PORT) as server:
        server.kill()
    with serve(*command, port=PORT):
        assert len(talk(stack)) == 8
