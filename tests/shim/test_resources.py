"""Descriptors, memory and system calls: nothing is left, nothing is visible, little is spent."""

import os
import select
import subprocess
import sys

import pytest

from neat import socket
from neat.shim import library_path
from tests.shim import fakestack
from tests.support import ROOT

HIDDEN = 256  # descriptors of the client core's own are beyond this


def descriptors():
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return sorted(fd for fd in listed if os.path.exists(f"/proc/self/fd/{fd}"))


def mappings():
    with open("/proc/self/maps") as maps:
        return sum("memfd:app" in line for line in maps)


def open_and_close(listener):
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    client.close()
    server.close()


def test_connections_leave_nothing(stack):
    listener = socket.create_server((fakestack.ADDRESS, 0))
    for _ in range(10):
        open_and_close(listener)
    before = descriptors(), mappings()
    for _ in range(100):
        open_and_close(listener)
    assert (descriptors(), mappings()) == before


def test_own_descriptors_are_out_of_the_way_and_not_inherited(stack):
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    before = set(descriptors())
    sock = socket.socket()
    assert sock.fileno() == lowest
    sock.bind((fakestack.ADDRESS, 0))
    sock.listen()
    new = set(descriptors()) - before - {lowest}
    assert all(fd >= HIDDEN for fd in new)
    assert not any(os.get_inheritable(fd) for fd in [*new, lowest])


def test_a_segment_of_a_dead_replica_is_unmapped(stack):
    listener = socket.create_server((fakestack.ADDRESS, 0))
    pids = stack.pids()
    for _ in range(3):
        for _ in range(8):
            open_and_close(listener)
        for pid in pids:
            os.kill(pid, 9)
        for _ in range(200):
            if not set(stack.pids()) & set(pids):
                break
            select.select([], [], [], 0.02)
        pids = stack.pids()
    for _ in range(16):
        open_and_close(listener)
    assert mappings() <= 2


def test_system_calls_of_a_request_and_its_answer(stack):
    """No sleep and at most one token for a request that is there; no more than a bell for the answer."""
    listener = socket.create_server((fakestack.ADDRESS, 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    rounds = 50
    waits = tokens = bells = 0
    for _ in range(rounds):
        client.sendall(b"request")
        select.select([server], [], [], 10)
        before = socket.stats()
        assert server.recv(100) == b"request"
        server.sendall(b"answer")
        after = socket.stats()
        waits += after["waits"] - before["waits"]
        tokens += after["tokens"] - before["tokens"]
        bells += after["bells"] - before["bells"]
        assert client.recv(100) == b"answer"
    assert waits == 0
    assert tokens <= rounds
    assert bells <= rounds


def test_spurious_wake_ups_end(stack):
    """After everything is read, the descriptor is not readable."""
    listener = socket.create_server((fakestack.ADDRESS, 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    server.setblocking(False)
    got = 0
    for _ in range(300):
        client.sendall(bytes(100))
        try:
            got += len(server.recv(1000))
        except BlockingIOError:
            continue
    while got < 30_000:
        assert select.select([server], [], [], 10)[0]
        try:
            got += len(server.recv(1000))
        except BlockingIOError:
            continue
    with pytest.raises(BlockingIOError):
        server.recv(1)
    assert not select.select([server], [], [], 0.1)[0]


def test_the_library_is_built_and_hides_its_insides():
    names = subprocess.run(
        ["nm", "-D", "--defined-only", library_path()], capture_output=True, text=True, check=True
    ).stdout
    symbols = {line.split()[-1] for line in names.splitlines()}
    assert {"neat_socket", "neat_recv", "neat_send", "neat_close"} <= symbols
    assert "neat_lock" not in symbols
    assert "neat_stream_recv" not in symbols


def test_unused_it_costs_nothing():
    """Importing it opens no descriptor and talks to nobody."""
    look = "os.listdir('/proc/self/fd')"
    code = f"import os; before = {look}; from neat import socket; assert {look} == before"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=20)
