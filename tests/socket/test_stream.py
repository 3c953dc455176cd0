"""Bytes of a connection: the kernel's sockets and NEaT's must do the same."""

import fcntl
import hashlib
import io
import os
import select
import socket
import struct
import tempfile
import threading

import pytest

from tests.socket.streams import BIG, await_events, poll, receive_all


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


def test_bytes_left_come_as_a_control_message(pair):
    """tcp(7), TCP_INQ."""
    inq = 36
    subject, peer = pair
    subject.setsockopt(socket.IPPROTO_TCP, inq, 1)
    peer.sendall(b"abcdef")
    assert subject.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL) == b"abcdef"
    for data, left in ((b"abcd", 2), (b"ef", 0)):
        message = (socket.IPPROTO_TCP, inq, struct.pack("i", left))
        assert subject.recvmsg(4, socket.CMSG_SPACE(4))[:3] == (data, [message], 0)
    peer.sendall(b"x")
    assert subject.recvmsg_into([bytearray(4)])[:2] == (1, [])
    with pytest.raises(ValueError, match="ancillary data buffer length"):
        subject.recvmsg(4, -1)


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
