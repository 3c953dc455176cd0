"""Bytes of a connection, its end, and its errors: the kernel's sockets and NEaT's must do the same."""

import errno
import fcntl
import hashlib
import io
import os
import select
import signal
import socket
import struct
import tempfile
import threading
import time

import pytest

BIG = 3_000_000
RECVFROM = {"45", "207"}  # its number on x86-64 and arm64
RESET = struct.pack("ii", 1, 0)


def poll(sock, mask=select.POLLIN | select.POLLOUT | select.POLLRDHUP, timeout=0):
    poller = select.poll()
    poller.register(sock, mask)
    ready = poller.poll(timeout)
    return ready[0][1] if ready else 0


def await_events(sock, events, mask=select.POLLIN | select.POLLRDHUP):
    """Until poll() says all of these; what it says then."""
    poller = select.poll()
    poller.register(sock, mask & events)
    assert poller.poll(10_000), f"not within 10 s: {events}"
    return poll(sock)


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


def receive_all(sock, count=None):
    parts = []
    while count is None or sum(map(len, parts)) < count:
        data = sock.recv(65536)
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def test_bytes_go_both_ways(pair):
    subject, peer = pair
    subject.sendall(b"question")
    assert peer.recv(100) == b"question"
    peer.sendall(b"answer")
    assert subject.recv(3) == b"ans"
    assert subject.recv(100) == b"wer"


def test_large_transfers_are_whole(pair):
    subject, peer = pair
    data = os.urandom(BIG)
    for sender, receiver in ((subject, peer), (peer, subject)):
        thread = threading.Thread(target=sender.sendall, args=(data,))
        thread.start()
        got = receive_all(receiver, len(data))
        thread.join()
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


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


def test_peek_takes_nothing(pair):
    subject, peer = pair
    peer.sendall(b"abcdef")
    assert subject.recv(3, socket.MSG_PEEK) == b"abc"
    assert poll(subject) & select.POLLIN
    assert subject.recv(10) == b"abcdef"


def test_wait_for_all(pair):
    subject, peer = pair
    peer.sendall(b"abc")
    timer = threading.Timer(0.05, peer.sendall, [b"defgh"])
    timer.start()
    assert subject.recv(6, socket.MSG_WAITALL) == b"abcdef"
    timer.join()
    peer.shutdown(socket.SHUT_WR)
    assert subject.recv(6, socket.MSG_WAITALL) == b"gh"


def test_truncate_discards(pair):
    subject, peer = pair
    peer.sendall(b"abcdef")
    await_events(subject, select.POLLIN)
    buffer = bytearray(b"....")
    assert subject.recv_into(buffer, 4, socket.MSG_TRUNC) == 4
    assert buffer == b"...."
    assert subject.recv(10) == b"ef"


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


def fill(sock):
    """Send until there is no more room; how much that was."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(100_000))
        except BlockingIOError:
            # The peer's acknowledgements may still make room.
            if not poll(sock, select.POLLOUT, 50):
                return sent


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


def test_vectors(pair):
    subject, peer = pair
    assert subject.sendmsg([b"one", b"", b"two"]) == 6
    assert peer.recv(10) == b"onetwo"
    peer.sendall(b"abcdef")
    await_events(subject, select.POLLIN)
    first, second = bytearray(4), bytearray(4)
    got, ancillary, flags, _address = subject.recvmsg_into([first, second])
    assert (got, ancillary, flags) == (6, [], 0)
    assert first + second == b"abcdef\0\0"


def test_receive_into(pair):
    subject, peer = pair
    peer.sendall(b"abcdef")
    buffer = bytearray(b"........")
    assert subject.recv_into(buffer, 4) == 4
    assert buffer == b"abcd...."
    assert subject.recv_into(memoryview(buffer)[4:]) == 2
    with pytest.raises(ValueError, match="buffer too small"):
        subject.recv_into(buffer, 100)


def test_files_over_a_connection(pair):
    subject, peer = pair
    with subject.makefile("rwb") as file:
        file.write(b"line one\nline two\n")
        file.flush()
        assert peer.recv(100) == b"line one\nline two\n"
        peer.sendall(b"first\nsecond\n")
        assert file.readline() == b"first\n"
        assert file.readline() == b"second\n"
        subject.close()
        file.write(b"still open")
    assert receive_all(peer) == b"still open"


def test_sendfile(pair):
    subject, peer = pair
    data = os.urandom(1_000_000)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        sent = []
        thread = threading.Thread(target=lambda: sent.append(subject.sendfile(file, 1000)))
        thread.start()
        assert receive_all(peer, len(data) - 1000) == data[1000:]
        thread.join()
        assert sent == [len(data) - 1000]
        assert file.tell() == len(data)
        assert subject.sendfile(file, 10, 20) == 20
        assert peer.recv(100) == data[10:30]
    assert subject.sendfile(io.BytesIO(b"not a real file")) == 15
    assert peer.recv(100) == b"not a real file"


def test_duplicates_share_the_connection(pair):
    subject, peer = pair
    copy = subject.dup()
    assert copy.fileno() != subject.fileno()
    assert copy.getpeername() == subject.getpeername()
    subject.close()
    copy.sendall(b"from the copy")
    assert peer.recv(100) == b"from the copy"
    copy.close()
    assert peer.recv(1) == b""


def test_detached_descriptor_lives_on(world, pair):
    subject, peer = pair
    descriptor = subject.detach()
    assert subject.fileno() == -1
    again = world.keep(world.net.socket(fileno=descriptor))
    again.sendall(b"here")
    assert peer.recv(10) == b"here"


def test_both_ends_over_by_turns(pair):
    """The last copy decides: a forked child keeps the connection open."""
    subject, peer = pair
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            peer.close()
            os.read(reader, 1)
            subject.sendall(b"from the child")
            subject.sendall(subject.recv(10))
            subject.close()
            os._exit(0)
        finally:
            os._exit(1)
    subject.close()
    os.write(writer, b"x")
    assert receive_all(peer, 14) == b"from the child"
    peer.sendall(b"echo")
    assert receive_all(peer) == b"echo"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reader)
    os.close(writer)


def test_a_killed_process_leaves_nothing_open(pair):
    subject, peer = pair
    pid = os.fork()
    if pid == 0:
        signal.pause()
    subject.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert peer.recv(1) == b""


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


def test_names(world, pair):
    subject, peer = pair
    assert subject.getsockname() == peer.getpeername()
    assert subject.getpeername() == peer.getsockname()
    assert subject.getsockname()[0] == world.host


def test_bytes_waiting(world, pair):
    subject, peer = pair
    peer.sendall(b"abc")
    await_events(subject, select.POLLIN)
    if world.name == "kernel":
        assert fcntl.ioctl(subject, 0x541B, bytes(4)) == struct.pack("i", 3)
    else:
        assert subject.inq() == 3


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
        return syscall.read().split()[0] in RECVFROM


def test_many_threads_on_one_connection(pair):
    """Records of several writers stay whole when each is sent with one small send."""
    subject, peer = pair
    writers, rounds, size = 4, 200, 64

    def write(n):
        for _ in range(rounds):
            subject.sendall(bytes([n]) * size)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    data = receive_all(peer, writers * rounds * size)
    for thread in threads:
        thread.join()
    records = [data[i : i + size] for i in range(0, len(data), size)]
    assert all(len(set(record)) == 1 for record in records)
    assert sorted(record[0] for record in records) == sorted(n for n in range(writers) for _ in range(rounds))
