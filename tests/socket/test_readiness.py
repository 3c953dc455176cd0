"""Waiting for a connection, or not: the kernel's sockets and NEaT's must do the same."""

import fcntl
import os
import select
import signal
import socket
import struct
import threading

import pytest

from tests.socket.streams import await_events, fill, poll, receive_all


def test_dont_wait(pair):
    subject, peer = pair
    with pytest.raises(BlockingIOError):
        subject.recv(1, socket.MSG_DONTWAIT)
    peer.sendall(b"x")
    await_events(subject, select.POLLIN)
    assert subject.recv(1, socket.MSG_DONTWAIT) == b"x"


def test_non_blocking(pair):
    subject, peer = pair
    subject.setblocking(False)
    with pytest.raises(BlockingIOError):
        subject.recv(1)
    peer.sendall(b"x")
    await_events(subject, select.POLLIN)
    assert subject.recv(10) == b"x"
    with pytest.raises(BlockingIOError):
        subject.recv(1)


def test_o_nonblock_of_the_descriptor_decides(pair):
    subject, _peer = pair
    flags = fcntl.fcntl(subject.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(subject.fileno(), fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        subject.recv(1)


def test_timeouts(pair):
    subject, peer = pair
    subject.settimeout(0.02)
    with pytest.raises(TimeoutError):
        subject.recv(1)
    peer.sendall(b"x")
    assert subject.recv(1) == b"x"
    with pytest.raises(TimeoutError):
        subject.sendall(bytes(64 << 20))


def test_receive_timeout_option(pair):
    subject, _peer = pair
    limit = struct.pack("ll", 0, 20_000)
    subject.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    assert subject.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == limit
    with pytest.raises(BlockingIOError):
        subject.recv(1)


def test_send_timeout_option(pair):
    subject, _peer = pair
    subject.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 20_000))
    with pytest.raises(BlockingIOError):
        subject.sendall(bytes(64 << 20))


def test_full_is_not_writable_until_there_is_room(pair):
    subject, peer = pair
    subject.setblocking(False)
    sent = fill(subject)
    assert sent > 0
    assert not poll(subject) & select.POLLOUT
    got = len(receive_all(peer, sent))
    assert got == sent
    await_events(subject, select.POLLOUT, select.POLLOUT)
    assert subject.send(b"x") == 1
    assert peer.recv(10) == b"x"


def test_full_wakes_a_blocked_sender(pair):
    subject, peer = pair
    subject.setblocking(False)
    sent = fill(subject)
    subject.setblocking(True)
    thread = threading.Thread(target=subject.sendall, args=(bytes(1000),))
    thread.start()
    assert len(receive_all(peer, sent + 1000)) == sent + 1000
    thread.join(10)
    assert not thread.is_alive()


def test_small_send_buffer(pair):
    subject, peer = pair
    subject.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    assert subject.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 16384
    data = os.urandom(500_000)
    thread = threading.Thread(target=subject.sendall, args=(data,))
    thread.start()
    assert receive_all(peer, len(data)) == data
    thread.join()


def test_poll_follows_the_connection(pair):
    subject, peer = pair
    assert poll(subject) == select.POLLOUT
    peer.sendall(b"x")
    assert await_events(subject, select.POLLIN) == select.POLLIN | select.POLLOUT
    subject.recv(10)
    assert poll(subject) == select.POLLOUT
    peer.shutdown(socket.SHUT_WR)
    assert await_events(subject, select.POLLRDHUP) == select.POLLIN | select.POLLOUT | select.POLLRDHUP
    assert subject.recv(1) == b""
    assert poll(subject) == select.POLLIN | select.POLLOUT | select.POLLRDHUP
    subject.shutdown(socket.SHUT_WR)
    assert receive_all(peer) == b""
    assert await_events(subject, select.POLLHUP) & select.POLLHUP


def test_edge_triggered_epoll_tells_each_arrival(pair):
    subject, peer = pair
    subject.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(subject, select.EPOLLIN | select.EPOLLET)
        for n in range(20):
            peer.sendall(b"%d" % n)
            assert epoll.poll(10)
            assert subject.recv(100) == b"%d" % n
            assert not epoll.poll(0)


def test_edge_triggered_epoll_tells_of_room(pair):
    subject, peer = pair
    subject.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(subject, select.EPOLLOUT | select.EPOLLET)
        assert epoll.poll(10)
        sent = fill(subject)
        epoll.poll(0)
        assert len(receive_all(peer, sent)) == sent
        assert epoll.poll(10)


def test_level_triggered_epoll_repeats(pair):
    subject, peer = pair
    with select.epoll() as epoll:
        epoll.register(subject, select.EPOLLIN)
        peer.sendall(b"abcd")
        for n in range(4):
            assert epoll.poll(10)
            assert subject.recv(1) == b"abcd"[n : n + 1]
        assert not epoll.poll(0)


def test_select_with_other_descriptors(pair):
    subject, peer = pair
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        assert select.select([subject, reader], [subject], [], 10) == ([reader], [subject], [])
        peer.sendall(b"y")
        await_events(subject, select.POLLIN)
        assert select.select([subject, reader], [], [], 10)[0] == [subject, reader]
    finally:
        os.close(reader)
        os.close(writer)


def test_signals_interrupt_and_go_on(pair):
    """PEP 475: a handler that returns lets the call go on; one that raises ends it."""
    subject, peer = pair
    seen = []

    def handler(*_):
        seen.append(1)
        if len(seen) == 2:
            raise KeyError
        peer.sendall(b"x")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert subject.recv(1) == b"x"
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyError):
            subject.recv(1)
        seen[:] = [1]
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        subject.settimeout(5)
        with pytest.raises(KeyError):
            subject.recv(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
