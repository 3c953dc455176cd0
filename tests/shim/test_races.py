"""Tokens and fills under load: no wake-up is ever lost, whoever is faster. Each run is bounded by time."""

import os
import select
import threading
import time

import pytest

from neat import socket
from tests.shim import fakestack

SECONDS = 1.5


@pytest.fixture
def pair(stack):
    listener = socket.create_server((fakestack.ADDRESS, 0))
    client = socket.create_connection(listener.getsockname())
    return listener.accept()[0], client


def in_child(work, *unused):
    """Fork to do `work`; the child closes what it does not use, so that the parent's close is the last."""
    pid = os.fork()
    if pid == 0:
        try:
            for sock in unused:
                sock.close()
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def joined(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("trigger", [0, select.EPOLLET], ids=["level", "edge"])
def test_no_arrival_is_lost(pair, trigger):
    """A reader that sleeps in epoll whenever the ring is empty gets every byte."""
    server, client = pair
    deadline = time.monotonic() + SECONDS

    def send():
        sent = 0
        while time.monotonic() < deadline:
            client.sendall(b"x" * (1 + sent % 50))
            sent += 1
        client.shutdown(socket.SHUT_WR)

    pid = in_child(send, server)
    client.close()
    server.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN | select.EPOLLRDHUP | trigger)
        over = False
        while not over:
            assert epoll.poll(10), "a wake-up was lost"
            while True:
                try:
                    if not server.recv(64):
                        over = True
                        break
                except BlockingIOError:
                    break
    joined(pid)


@pytest.mark.parametrize("trigger", [0, select.EPOLLET], ids=["level", "edge"])
def test_no_room_is_lost(pair, trigger):
    """A writer that sleeps in epoll whenever the ring is full gets everything out."""
    server, client = pair
    deadline = time.monotonic() + SECONDS

    def receive():
        while server.recv(3000):
            pass

    pid = in_child(receive, client)
    server.close()
    client.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(client, select.EPOLLOUT | trigger)
        while time.monotonic() < deadline:
            assert epoll.poll(10), "a wake-up was lost"
            while time.monotonic() < deadline:
                try:
                    client.send(bytes(20_000))
                except BlockingIOError:
                    break
    client.close()
    joined(pid)


def test_ping_pong_between_processes(pair):
    server, client = pair
    deadline = time.monotonic() + SECONDS

    def answer():
        while data := server.recv(100):
            server.sendall(data)

    pid = in_child(answer, client)
    server.close()
    client.settimeout(10)
    while time.monotonic() < deadline:
        client.sendall(b"ping")
        assert client.recv(100) == b"ping"
    client.close()
    joined(pid)


def test_both_directions_at_once_with_blocking_calls(pair):
    server, client = pair
    total = 2_000_000

    def pump(sock):
        sender = threading.Thread(target=sock.sendall, args=(bytes(total),))
        sender.start()
        got = 0
        while got < total:
            got += len(sock.recv(7000))
        sender.join()

    pid = in_child(lambda: pump(server))
    client.settimeout(None)
    pump(client)
    joined(pid)


def test_processes_share_a_listener(stack):
    """Every connection is accepted once, by whoever is free."""
    listener = socket.create_server((fakestack.ADDRESS, 0), backlog=100)

    def work():
        while True:
            accepted, _ = listener.accept()
            data = accepted.recv(100)
            if data == b"stop":
                return
            accepted.sendall(b"%d" % os.getpid())
            accepted.close()

    pids = [in_child(work) for _ in range(3)]
    served = []
    for _ in range(60):
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"who")
            served.append(int(client.recv(100)))
    for _ in pids:
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"stop")
            client.recv(1)
    for pid in pids:
        joined(pid)
    assert set(served) <= set(pids)


def test_a_connection_is_writable_when_connect_returns(stack):
    """To whoever asks the kernel, which hears of it a moment after the client core."""
    with socket.create_connection((fakestack.ADDRESS, fakestack.Behaviour.LATE)) as sock:
        assert select.select([], [sock], [], 0)[1] == [sock]
