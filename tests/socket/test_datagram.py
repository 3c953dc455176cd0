"""UDP: the kernel's sockets and NEaT's must do the same."""

import errno
import select
import socket
import threading

import pytest

PEEK_LENGTH = socket.MSG_PEEK | socket.MSG_TRUNC


@pytest.fixture
def ends(world):
    """(subject, peer), both bound; the subject's address is its own."""
    subject, peer = world.socket(socket.SOCK_DGRAM), world.peer_socket(socket.SOCK_DGRAM)
    subject.bind((world.host, 0))
    peer.bind((world.peer_host, 0))
    return subject, peer


def await_input(sock):
    assert select.select([sock], [], [], 10)[0]


def test_question_and_answer(world, ends):
    subject, peer = ends
    peer.sendto(b"question", subject.getsockname())
    data, address = subject.recvfrom(100)
    assert (data, address) == (b"question", peer.getsockname())
    assert subject.sendto(b"answer", address) == 6
    assert peer.recvfrom(100) == (b"answer", subject.getsockname())


def test_bounds_are_kept_and_zero_is_a_length(ends):
    subject, peer = ends
    sizes = [0, 1, 7, 8, 9, 1000, 1472]
    for size in sizes:
        peer.sendto(bytes(size), subject.getsockname())
        assert len(subject.recv(2000)) == size


def test_large_datagrams(world, ends):
    if world.name == "neat":
        pytest.skip("the stack has no fragments yet")
    subject, peer = ends
    data = bytes(range(256)) * 100
    peer.sendto(data, subject.getsockname())
    assert subject.recv(65536) == data
    subject.sendto(data, peer.getsockname())
    assert peer.recv(65536) == data


def test_too_long(ends):
    subject, peer = ends
    with pytest.raises(OSError) as error:
        subject.sendto(bytes(65508), peer.getsockname())
    assert error.value.errno == errno.EMSGSIZE


def test_what_does_not_fit_is_cut(ends):
    subject, peer = ends
    peer.sendto(b"abcdef", subject.getsockname())
    await_input(subject)
    assert subject.recv(3, socket.MSG_PEEK) == b"abc"
    assert len(subject.recv(100, socket.MSG_PEEK)) == 6
    data, _ancillary, flags, address = subject.recvmsg(3)
    assert (data, address) == (b"abc", peer.getsockname())
    assert flags & socket.MSG_TRUNC
    peer.sendto(b"next", subject.getsockname())
    assert subject.recv(100) == b"next"


def test_control_messages(ends):
    subject, peer = ends
    subject.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    peer.sendto(b"abc", subject.getsockname())
    data, messages, flags, _address = subject.recvmsg(10, 64)
    assert (data, flags) == (b"abc", 0)
    assert messages == [(socket.IPPROTO_IP, socket.IP_TOS, b"\0")]


def test_true_length(ends):
    subject, peer = ends
    peer.sendto(b"abcdef", subject.getsockname())
    await_input(subject)
    assert subject.recv_into(bytearray(2), 2, socket.MSG_TRUNC) == 6


def test_readiness(ends):
    subject, peer = ends
    poller = select.poll()
    poller.register(subject, select.POLLIN | select.POLLOUT)
    assert poller.poll(0) == [(subject.fileno(), select.POLLOUT)]
    peer.sendto(b"a", subject.getsockname())
    await_input(subject)
    peer.sendto(b"b", subject.getsockname())
    assert subject.recv(10) == b"a"
    await_input(subject)
    assert subject.recv(10) == b"b"
    assert poller.poll(0) == [(subject.fileno(), select.POLLOUT)]


def test_not_waiting(ends):
    subject, peer = ends
    subject.setblocking(False)
    with pytest.raises(BlockingIOError):
        subject.recv(10)
    subject.settimeout(0.02)
    with pytest.raises(TimeoutError):
        subject.recv(10)
    peer.sendto(b"x", subject.getsockname())
    subject.settimeout(10)
    assert subject.recv(10) == b"x"


def test_a_socket_without_a_name_gets_one(world, ends):
    _, peer = ends
    subject = world.socket(socket.SOCK_DGRAM)
    subject.sendto(b"hello", peer.getsockname())
    _, address = peer.recvfrom(100)
    assert address == (world.host, subject.getsockname()[1])
    peer.sendto(b"back", address)
    assert subject.recv(100) == b"back"


def test_connected(world, ends):
    subject, peer = ends
    with pytest.raises(OSError) as error:
        subject.send(b"x")
    assert error.value.errno == errno.EDESTADDRREQ
    stranger = world.peer_socket(socket.SOCK_DGRAM)
    subject.connect(peer.getsockname())
    assert subject.getpeername() == peer.getsockname()
    subject.send(b"to the peer")
    assert peer.recv(100) == b"to the peer"
    stranger.sendto(b"from a stranger", subject.getsockname())
    peer.sendto(b"from the peer", subject.getsockname())
    assert subject.recv(100) == b"from the peer"
    assert not select.select([subject], [], [], 0.05)[0]


def test_nobody_listens(world, ends):
    subject, peer = ends
    if world.name == "fake":
        pytest.skip("the fake stack knows no ICMP")
    address = peer.getsockname()
    peer.close()
    subject.connect(address)
    subject.settimeout(10)
    subject.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        subject.recv(10)


def test_many_at_once(ends):
    subject, peer = ends
    for sender, receiver in ((peer, subject), (subject, peer)):
        sender.sendto(b"first", receiver.getsockname())
        assert receiver.recv(10) == b"first"
        for n in range(100):
            sender.sendto(b"%d" % n, receiver.getsockname())
        assert sorted(int(receiver.recv(10)) for _ in range(100)) == list(range(100))


def test_several_peers(world, ends):
    subject, _ = ends
    peers = [world.peer_socket(socket.SOCK_DGRAM) for _ in range(8)]
    for n, peer in enumerate(peers):
        peer.sendto(b"%d" % n, subject.getsockname())
    for _ in peers:
        data, address = subject.recvfrom(10)
        subject.sendto(data, address)
    for n, peer in enumerate(peers):
        assert peer.recv(10) == b"%d" % n


def test_threads_share_the_work(ends):
    subject, peer = ends
    subject.settimeout(10)
    answered = []

    def work():
        while True:
            data, address = subject.recvfrom(100)
            if data == b"stop":
                return
            answered.append(data)
            subject.sendto(data, address)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(50):
        peer.sendto(b"%d" % n, subject.getsockname())
        assert peer.recv(100) == b"%d" % n
    for _ in threads:
        peer.sendto(b"stop", subject.getsockname())
    for thread in threads:
        thread.join(10)
    assert len(answered) == 50
