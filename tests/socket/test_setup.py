"""bind, listen, accept, connect and their errors: the kernel's sockets and NEaT's must do the same."""

import errno
import os
import resource
import select
import socket
import threading

import pytest


def fails(number, call, *arguments):
    with pytest.raises(OSError) as error:
        call(*arguments)
    assert error.value.errno == number, error.value


def test_names_of_a_bound_socket(world):
    listener = world.listener()
    host, port = listener.getsockname()
    assert host == world.host
    assert port > 0
    fails(errno.ENOTCONN, listener.getpeername)


def test_wildcard(world):
    sock = world.socket()
    sock.bind(("", 0))
    sock.listen()
    assert sock.getsockname()[0] == "0.0.0.0"
    peer = world.peer_socket()
    peer.connect((world.host, sock.getsockname()[1]))
    accepted = world.keep(sock.accept()[0])
    assert accepted.getsockname() == peer.getpeername()


def test_a_foreign_address(world):
    fails(errno.EADDRNOTAVAIL, world.socket().bind, ("203.0.113.7", 0))


def test_bind_twice(world):
    sock = world.socket()
    sock.bind((world.host, 0))
    fails(errno.EINVAL, sock.bind, (world.host, 0))


def test_address_in_use(world):
    listener = world.listener()
    fails(errno.EADDRINUSE, world.socket().bind, listener.getsockname())


def test_listen_without_bind(world):
    sock = world.socket()
    sock.listen()
    assert sock.getsockname()[1] > 0


def test_listen_again_changes_the_backlog(world):
    listener = world.listener(1)
    listener.listen(10)
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_not_a_listener(world):
    fails(errno.EINVAL, world.socket().accept)
    fails(errno.EOPNOTSUPP, world.socket(socket.SOCK_DGRAM).accept)
    fails(errno.EOPNOTSUPP, world.socket(socket.SOCK_DGRAM).listen)


def test_not_connected(world):
    sock = world.socket()
    fails(errno.ENOTCONN, sock.recv, 1)
    fails(errno.EPIPE, sock.send, b"x")
    fails(errno.ENOTCONN, sock.getpeername)
    fails(errno.ENOTCONN, sock.shutdown, socket.SHUT_WR)


def test_moving_bytes_on_a_listener(world):
    listener = world.listener()
    fails(errno.ENOTCONN, listener.recv, 1)
    fails(errno.EPIPE, listener.send, b"x")
    fails(errno.EISCONN, listener.connect, (world.peer_host, 9))


def test_unknown_kinds(world):
    for kind, protocol in ((socket.SOCK_STREAM, socket.IPPROTO_UDP), (socket.SOCK_DGRAM, socket.IPPROTO_TCP)):
        fails(errno.EPROTONOSUPPORT, world.net.socket, socket.AF_INET, kind, protocol)


def test_kind_family_protocol(world):
    sock = world.net.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    world.keep(sock)
    assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    assert not sock.get_inheritable()


def test_accept_waits(world):
    listener = world.listener()
    peer = world.peer_socket()
    timer = threading.Timer(0.05, peer.connect, [listener.getsockname()])
    timer.start()
    accepted, address = listener.accept()
    world.keep(accepted)
    timer.join()
    assert address == peer.getsockname()
    assert accepted.gettimeout() is None


def test_accept_without_waiting(world):
    listener = world.listener()
    listener.setblocking(False)
    fails(errno.EAGAIN, listener.accept)
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    assert not poller.poll(0)
    world.peer_socket().connect(listener.getsockname())
    assert poller.poll(10_000) == [(listener.fileno(), select.POLLIN)]
    world.keep(listener.accept()[0])
    assert not poller.poll(0)
    fails(errno.EAGAIN, listener.accept)


def test_accept_with_a_timeout(world):
    listener = world.listener()
    listener.settimeout(0.02)
    with pytest.raises(TimeoutError):
        listener.accept()
    world.peer_socket().connect(listener.getsockname())
    world.keep(listener.accept()[0])


@pytest.mark.parametrize("blocking", [True, False])
def test_accept_without_a_free_descriptor_takes_nothing(world, blocking):
    listener = world.listener()
    listener.setblocking(blocking)
    peer = world.peer_socket()
    peer.connect(listener.getsockname())
    peer.sendall(b"here")
    assert select.select([listener], [], [], 10)[0]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        for _ in range(3):
            fails(errno.EMFILE, listener.accept)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    accepted = world.keep(listener.accept()[0])
    accepted.settimeout(10)
    assert accepted.recv(10) == b"here"


def test_accept_in_order_and_after_the_peer_left(world):
    listener = world.listener()
    peers = [world.peer_socket() for _ in range(3)]
    for n, peer in enumerate(peers):
        peer.connect(listener.getsockname())
        peer.sendall(b"%d" % n)
        peer.close()
    got = set()
    for _ in peers:
        accepted = world.keep(listener.accept()[0])
        got.add(accepted.recv(10))
        assert accepted.recv(10) == b""
    assert got == {b"0", b"1", b"2"}


def test_shutting_a_listener_down_wakes_accept(world):
    listener = world.listener()
    seen = []

    def accept():
        try:
            listener.accept()
        except OSError as error:
            seen.append(error.errno)

    thread = threading.Thread(target=accept)
    thread.start()
    listener.shutdown(socket.SHUT_RD)
    thread.join(10)
    assert seen == [errno.EINVAL]


def test_shutting_a_listener_down_wakes_whoever_is_about_to_sleep(world):
    """Somewhere between its look at the listener and its sleep, which is hit about once in 100 times."""
    for turn in range(600):
        listener = world.listener()
        seen = []

        def accept(listener=listener, seen=seen):
            try:
                listener.accept()
            except OSError as error:
                seen.append(error.errno)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        for _ in range(turn * 7 % 400):
            pass
        listener.shutdown(socket.SHUT_RD)
        thread.join(30)
        assert seen == [errno.EINVAL], turn
        world.close()


def test_accepted_sockets_inherit(world):
    listener = world.socket()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setblocking(False)
    listener.bind((world.host, 0))
    listener.listen()
    world.peer_socket().connect(listener.getsockname())
    select.select([listener], [], [], 10)
    accepted = world.keep(listener.accept()[0])
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert accepted.getblocking()


def closed_port(world):
    sock = world.peer_listener()
    address = sock.getsockname()
    sock.close()
    return address


def test_connection_refused(world):
    sock = world.socket()
    fails(errno.ECONNREFUSED, sock.connect, closed_port(world))


def test_connect_again_after_a_refusal(world):
    sock = world.socket()
    assert sock.connect_ex(closed_port(world)) == errno.ECONNREFUSED
    listener = world.peer_listener()
    sock.connect(listener.getsockname())
    peer = world.keep(listener.accept()[0])
    sock.sendall(b"second try")
    assert peer.recv(100) == b"second try"


def test_connect_from_a_bound_port(world):
    listener = world.peer_listener()
    sock = world.socket()
    sock.bind((world.host, 0))
    port = sock.getsockname()[1]
    sock.connect(listener.getsockname())
    assert listener.accept()[1] == (world.host, port)


def test_connect_twice(world):
    subject, _peer = world.connected()
    fails(errno.EISCONN, subject.connect, subject.getpeername())


def test_connect_without_waiting(world):
    listener = world.peer_listener()
    sock = world.socket()
    sock.setblocking(False)
    assert sock.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
    assert select.select([], [sock], [], 10)[1] == [sock]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    peer = world.keep(listener.accept()[0])
    assert sock.getpeername() == listener.getsockname()
    sock.send(b"x")
    assert peer.recv(1) == b"x"


def test_refusal_without_waiting(world):
    sock = world.socket()
    sock.setblocking(False)
    result = sock.connect_ex(closed_port(world))
    if result == errno.EINPROGRESS:
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        assert poller.poll(10_000)
        result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert result == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_connect_with_a_timeout(world):
    listener = world.peer_listener()
    sock = world.socket()
    sock.settimeout(5)
    sock.connect(listener.getsockname())
    assert sock.gettimeout() == 5
    assert world.keep(listener.accept()[0]).getpeername() == sock.getsockname()


def test_many_connections(world):
    listener = world.listener(100)
    pairs = []
    for n in range(60):
        peer = world.peer_socket()
        peer.connect(listener.getsockname())
        pairs.append((world.keep(listener.accept()[0]), peer))
        pairs[-1][1].sendall(b"%d" % n)
    for n, (subject, _) in enumerate(pairs):
        assert subject.recv(10) == b"%d" % n


def test_helpers(world):
    with world.net.create_server((world.host, 0)) as server:
        peer = world.peer_socket()
        peer.connect(server.getsockname())
        world.keep(server.accept()[0])
    listener = world.peer_listener()
    with world.net.create_connection(listener.getsockname(), timeout=5) as sock:
        assert sock.gettimeout() == 5
    fails(errno.ECONNREFUSED, world.net.create_connection, closed_port(world))


def test_wrong_arguments(world):
    sock = world.socket()
    with pytest.raises(TypeError):
        sock.bind("host")
    with pytest.raises(TypeError):
        sock.connect((world.host, "80"))
    with pytest.raises(OverflowError):
        sock.bind((world.host, 70000))
    with pytest.raises(ValueError, match="[Tt]imeout"):
        sock.settimeout(-1)
    with pytest.raises(TypeError):
        sock.settimeout("soon")
