"""What an application sees when replicas, the syscall server or its own relatives die."""

import contextlib
import errno
import gc
import os
import re
import select
import signal
import socket as std
import subprocess
import sys
import time

import pytest

from neat import socket
from neat.abi.layout import neat_sock, sock_offset
from tests.shim import fakestack
from tests.support import ROOT, wait_for

GONE = select.POLLERR | select.POLLHUP


def connection(port=0):
    """(server, client, listener)"""
    listener = socket.create_server((fakestack.ADDRESS, port))
    client = socket.create_connection(listener.getsockname())
    return listener.accept()[0], client, listener


def await_gone(*socks):
    poller = select.poll()
    for sock in socks:
        poller.register(sock, 0)
    waiting = {sock.fileno() for sock in socks}
    while waiting:
        for fd, events in poller.poll(10_000):
            assert events & GONE == GONE
            waiting.discard(fd)
            poller.unregister(fd)


def kill(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_replica_resets_its_connections_at_once(stack):
    server, client, listener = connection()
    with select.epoll() as epoll:
        epoll.register(client, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        kill(stack.pids())
        assert epoll.poll(10)[0][1] & (select.EPOLLHUP | select.EPOLLERR) == select.EPOLLHUP | select.EPOLLERR
    await_gone(server)
    for sock in (server, client):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert sock.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            for _ in range(10):
                sock.send(bytes(100_000))


def test_a_killed_replica_wakes_who_sleeps(stack):
    server, client, _listener = connection()
    client.settimeout(10)
    pid = os.fork()
    if pid == 0:
        kill(stack.pids())
        os._exit(0)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    os.waitpid(pid, 0)
    assert server.getsockopt(std.SOL_SOCKET, std.SO_ERROR) in (0, errno.ECONNRESET)


def test_what_was_received_can_still_be_read(stack):
    server, client, _listener = connection()
    client.sendall(b"before the crash")
    assert server.recv(100, std.MSG_PEEK) == b"before the crash"
    kill(stack.pids())
    await_gone(server)
    assert server.recv(6) == b"before"
    assert server.recv(100) == b" the crash"
    with pytest.raises(ConnectionResetError):
        server.recv(100)


def test_a_listener_outlives_its_replicas(stack):
    server, client, listener = connection()
    before = stack.pids()
    kill(before)
    await_gone(server, client)
    wait_for(lambda: not set(stack.pids()) & set(before), 10, "new replicas")
    for n in range(4):
        new = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        new.sendall(b"%d" % n)
        assert accepted.recv(10) == b"%d" % n


def test_accepting_a_connection_whose_replica_is_dead(stack):
    listener = socket.create_server((fakestack.ADDRESS, 0))
    client = socket.create_connection(listener.getsockname())
    before = stack.pids()
    kill(before)
    await_gone(client)
    wait_for(lambda: not set(stack.pids()) & set(before), 10, "new replicas")
    accepted, address = listener.accept()
    assert address == client.getsockname()
    with pytest.raises(ConnectionResetError):
        accepted.recv(1)
    assert accepted.recv(1) == b""


def test_a_udp_socket_outlives_its_replicas(stack):
    subject, peer = (socket.socket(type=std.SOCK_DGRAM) for _ in range(2))
    subject.bind((fakestack.ADDRESS, 0))
    peer.bind((fakestack.ADDRESS, 0))
    for sock in (subject, peer):
        sock.settimeout(0.2)
    for _ in range(3):
        before = stack.pids()
        kill(before)
        wait_for(lambda old=set(before): not set(stack.pids()) & old, 10, "new replicas")

        def answered():
            peer.sendto(b"hello", subject.getsockname())
            with contextlib.suppress(TimeoutError):
                return subject.recv(100) == b"hello"
            return False

        wait_for(answered, 10, "a datagram through the new replicas")


def test_a_connect_that_its_replica_does_not_survive(stack):
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex((fakestack.ADDRESS, fakestack.Behaviour.SILENT)) == errno.EINPROGRESS
    assert sock.connect_ex((fakestack.ADDRESS, fakestack.Behaviour.SILENT)) == errno.EALREADY
    assert not select.select([], [sock], [], 0)[1]
    kill(stack.pids())
    assert select.select([], [sock], [], 10)[1]
    assert sock.getsockopt(std.SOL_SOCKET, std.SO_ERROR) == errno.ECONNRESET


def test_a_connect_that_takes_long(stack):
    sock = socket.socket()
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.connect((fakestack.ADDRESS, fakestack.Behaviour.SILENT))
    slow = socket.socket()
    slow.setblocking(False)
    assert slow.connect_ex((fakestack.ADDRESS, fakestack.Behaviour.SLOW)) == errno.EINPROGRESS
    for _ in range(20):  # until one of them reaches the same replica
        with contextlib.suppress(OSError):
            socket.create_connection((fakestack.ADDRESS, fakestack.Behaviour.REFUSE))
        if select.select([], [slow], [], 0.01)[1]:
            break
    assert select.select([], [slow], [], 10)[1]
    assert slow.getsockopt(std.SOL_SOCKET, std.SO_ERROR) == 0
    assert slow.getpeername() == (fakestack.ADDRESS, fakestack.Behaviour.SLOW)


def test_a_connect_whose_replica_dies_of_it_goes_to_another(stack):
    """Before it has said a word, that is: the application sees what the next replica says."""
    before = stack.pids()[0]
    while stack.pids()[0] == before:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((fakestack.ADDRESS, fakestack.Behaviour.DEADLY))


def test_no_stack(monkeypatch, tmp_path):
    """In a process of its own: this one may know a stack."""
    code = "from neat import socket; socket.create_server(('', 80))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NEAT_RUN_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "OSError: [Errno 100]" in done.stderr
    assert "neat up" in done.stderr


def test_another_stack_after_the_first_is_gone():
    for _ in range(2):
        with fakestack.running(1):
            server, client, listener = connection()
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            for sock in (server, client, listener):
                sock.close()


# Relatives that share a socket.


def objects(name):
    """(address, value) of this field in each socket object of a connection, in all segments mapped here."""
    gc.collect()  # so that no socket of an earlier test takes its segment away meanwhile
    with open("/proc/self/maps") as maps:
        bases = [
            int(m[1], 16) for m in re.finditer(r"^(\w+)-\S+ \S+ 00000000 .*memfd:app", maps.read(), re.M)
        ]
    found, field = [], neat_sock[name]
    with open("/proc/self/mem", "rb") as memory:
        for base in bases:
            for index in range(fakestack.FIRST_CONNECTION, fakestack.NSOCK):
                memory.seek(base + sock_offset(index))
                sock = memory.read(neat_sock.size)
                if neat_sock.get(sock, "generation") & 1:
                    at = base + sock_offset(index) + field.offset
                    found.append((at, neat_sock.get(sock, name)))
    return found


def overwrite(name, value):
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        for address, _ in objects(name):
            memory.seek(address)
            memory.write(value.to_bytes(neat_sock[name].size, "little"))


@pytest.mark.parametrize("field", ["tx_lock", "rx_lock"])
def test_a_lock_whose_holder_was_killed(stack, field):
    server, client, _listener = connection()
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = socket.stats()["dead_owners"]
    overwrite(field, pid)
    for n in range(3):
        client.sendall(b"%d" % n)
        assert server.recv(10) == b"%d" % n
    assert socket.stats()["dead_owners"] > before
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1)
    with select.epoll() as epoll:
        epoll.register(server, select.EPOLLIN | select.EPOLLET)
        client.sendall(b"after")
        assert epoll.poll(10)
        assert server.recv(10) == b"after"


def test_a_token_that_went_with_its_reader(stack):
    """Killed between taking the token and saying so: its relative, who takes the lock over, is told again."""
    server, client, _listener = connection()
    client.sendall(b"x")
    assert select.select([server], [], [], 10)[0]
    taken = std.socket(fileno=os.dup(server.fileno()))
    assert taken.recv(1) == b"t"
    taken.close()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    overwrite("rx_lock", pid)
    server.setblocking(False)
    assert server.recv(10) == b"x"
    client.sendall(b"y")
    assert select.select([server], [], [], 10)[0]


def forever(work):
    """The pid of a child that does so until it is killed, or until it fails."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            while True:
                work()
        os._exit(1)
    return pid


def test_a_killed_writer_does_not_stop_its_relatives(stack):
    """Workers that share one connection are killed at any instant, while others go on."""
    server, client, _listener = connection()
    deadline = time.monotonic() + 1.5
    server.settimeout(5)
    rounds = 0
    while time.monotonic() < deadline:
        pid = forever(lambda: client.sendall(b"w" * 1000))
        got = 0
        while got < 100_000:
            got += len(server.recv(65536))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        rounds += 1
    # The last one may have filled every buffer: nothing more gets in until that is read.
    data = b""
    server.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while True:
            data = (data + server.recv(65536))[-2000:]
    server.settimeout(5)
    client.settimeout(5)
    client.sendall(b"END")
    while not data.endswith(b"END"):
        data = (data + server.recv(65536))[-2000:]
    assert set(data[:-3]) <= {ord("w")}
    assert rounds > 3


def test_a_killed_reader_does_not_stop_its_relatives(stack):
    server, client, _listener = connection()
    for _ in range(15):
        pid = forever(lambda: server.recv(700))
        for _ in range(50):
            client.sendall(bytes(3000))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        while True:
            server.recv(65536)
    server.settimeout(5)
    client.sendall(b"after")
    assert server.recv(100) == b"after"


def test_a_child_is_of_the_same_application(stack):
    listener = socket.create_server((fakestack.ADDRESS, 0))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            accepted, _ = listener.accept()
            accepted.sendall(accepted.recv(100).upper())
            other = socket.create_server((fakestack.ADDRESS, 0))
            os.write(writer, b"%d" % other.getsockname()[1])
            accepted, _ = other.accept()
            accepted.sendall(b"from the child's own")
            os._exit(0)
        finally:
            os._exit(1)
    client = socket.create_connection(listener.getsockname())
    client.sendall(b"hello")
    assert client.recv(100) == b"HELLO"
    port = int(os.read(reader, 10))
    assert socket.create_connection((fakestack.ADDRESS, port)).recv(100) == b"from the child's own"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reader)
    os.close(writer)


# Values that cannot be.


@pytest.mark.parametrize("field", ["rx_tail", "rx_head"])
@pytest.mark.parametrize("value", [1 << 63, 1 << 40, fakestack.RX + 1])
def test_absurd_receive_offsets_end_the_socket_only(stack, field, value):
    server, client, _listener = connection()
    overwrite(field, value)
    for sock in (server, client):
        with pytest.raises(ConnectionResetError):
            sock.recv(10)
        assert sock.recv(10) == b""
    fresh, other, _ = connection()
    fresh.sendall(b"fine")
    assert other.recv(10) == b"fine"


def test_absurd_send_offsets_end_the_socket_only(stack):
    server, _client, _listener = connection()
    overwrite("tx_head", 1 << 50)
    with pytest.raises(ConnectionResetError):
        server.send(b"x")
    with pytest.raises(BrokenPipeError):
        server.send(b"x")


def test_an_object_that_belongs_to_another_socket_now(stack):
    server, client, _listener = connection()
    overwrite("generation", 77)
    for sock in (server, client):
        with pytest.raises(ConnectionResetError):
            sock.recv(10)


def test_a_stack_that_claims_room_for_ever(stack):
    """Writable without room: the sender waits, and spends no processor on it."""
    _server, client, _listener = connection()
    client.settimeout(0.3)
    replicas = stack.pids()[:2]
    for pid in replicas:
        os.kill(pid, signal.SIGSTOP)
    try:
        before = time.process_time()
        with pytest.raises(TimeoutError):
            while True:
                client.sendall(bytes(100_000))
                overwrite("out_block", 1)
        used = time.process_time() - before
    finally:
        for pid in replicas:
            os.kill(pid, signal.SIGCONT)  # else they would outlive their stack
    assert used < 0.25
