"""How a connection ends, and its errors: the kernel's sockets and NEaT's must do the same."""

import errno
import os
import select
import signal
import socket
import threading
import time

import pytest

from tests.socket.streams import RESET, await_events, poll, receive_all, reset

RECEIVING = {"0", "63", "45", "207"}  # read and recvfrom: their numbers on x86-64 and arm64


def test_end_of_stream_after_data(pair):
    subject, peer = pair
    peer.sendall(b"last")
    peer.close()
    assert subject.recv(100) == b"last"
    assert subject.recv(100) == b""
    assert subject.recv(100) == b""


def test_half_close_by_the_peer(pair):
    subject, peer = pair
    peer.shutdown(socket.SHUT_WR)
    assert subject.recv(1) == b""
    subject.sendall(b"still here")
    assert peer.recv(100) == b"still here"


def test_half_close_by_us(pair):
    subject, peer = pair
    subject.sendall(b"bye")
    subject.shutdown(socket.SHUT_WR)
    assert receive_all(peer) == b"bye"
    with pytest.raises(BrokenPipeError):
        subject.send(b"x")
    peer.sendall(b"more")
    assert subject.recv(100) == b"more"


def test_shutdown_of_reading(pair):
    subject, _peer = pair
    subject.shutdown(socket.SHUT_RD)
    assert poll(subject) & (select.POLLIN | select.POLLRDHUP) == select.POLLIN | select.POLLRDHUP
    assert subject.recv(10) == b""


def test_shutdown_of_reading_wakes_a_reader(pair):
    subject, _peer = pair
    got = []
    thread = threading.Thread(target=lambda: got.append(subject.recv(10)))
    thread.start()
    subject.shutdown(socket.SHUT_RD)
    thread.join(10)
    assert got == [b""]


def test_shutdown_of_both(pair):
    subject, peer = pair
    subject.shutdown(socket.SHUT_RDWR)
    assert subject.recv(10) == b""
    assert peer.recv(10) == b""
    peer.close()
    await_events(subject, select.POLLHUP)
    assert subject.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        subject.send(b"x")
    assert subject.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    with pytest.raises(OSError) as error:
        subject.shutdown(socket.SHUT_WR)
    assert error.value.errno == errno.ENOTCONN


def test_reset_is_reported_once(pair):
    subject, peer = pair
    reset(peer)
    events = await_events(subject, select.POLLHUP)
    assert events & (select.POLLERR | select.POLLHUP) == select.POLLERR | select.POLLHUP
    with pytest.raises(ConnectionResetError):
        subject.recv(10)
    assert subject.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        subject.send(b"x")


def test_reset_as_so_error(pair):
    subject, peer = pair
    reset(peer)
    await_events(subject, select.POLLHUP)
    assert subject.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert subject.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert subject.recv(10) == b""


def test_reset_while_reading(pair):
    subject, peer = pair
    timer = threading.Timer(0.05, reset, [peer])
    timer.start()
    with pytest.raises(ConnectionResetError):
        subject.recv(10)
    timer.join()


def test_sending_to_a_reset_connection(pair):
    subject, peer = pair
    reset(peer)
    await_events(subject, select.POLLHUP)
    with pytest.raises(ConnectionResetError):
        subject.send(b"x")
    with pytest.raises(BrokenPipeError):
        subject.send(b"x")


def test_closing_with_unread_data_resets(pair):
    subject, peer = pair
    peer.sendall(b"unread")
    await_events(subject, select.POLLIN)
    subject.close()
    with pytest.raises(ConnectionResetError):
        peer.recv(10)


def test_linger_zero_resets(pair):
    subject, peer = pair
    subject.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    subject.close()
    with pytest.raises(ConnectionResetError):
        peer.recv(10)


def test_a_killed_process_leaves_nothing_open(pair):
    subject, peer = pair
    pid = os.fork()
    if pid == 0:
        signal.pause()
    subject.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert peer.recv(1) == b""


def test_a_closed_socket(pair):
    subject, _peer = pair
    subject.close()
    assert subject.fileno() == -1
    with pytest.raises(OSError) as error:
        subject.recv(1)
    assert error.value.errno == errno.EBADF
    subject.close()


def test_closing_under_a_reader(pair):
    """The reader goes on with what it reads; nothing that is opened meanwhile gets into its way."""
    subject, peer = pair
    started, got = threading.Event(), []

    def read():
        started.set()
        got.append(subject.recv(10))

    thread = threading.Thread(target=read)
    thread.start()
    started.wait()
    while not sleeps_in_recv(thread):
        time.sleep(0.001)
    subject.close()
    others = [socket.socketpair() for _ in range(3)]
    peer.sendall(b"late")
    thread.join(10)
    assert got == [b"late"]
    for one, other in others:
        one.close()
        other.close()


def sleeps_in_recv(thread):
    with open(f"/proc/self/task/{thread.native_id}/syscall") as syscall:
        return syscall.read().split()[0] in RECEIVING
