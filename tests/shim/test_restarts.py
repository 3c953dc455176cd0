"""A real stack whose components are killed under a running application."""

import os
import signal
import socket as std

import pytest

from neat import socket
from tests.socket import worlds
from tests.support import running_stack, wait_for

pytestmark = pytest.mark.netns


@pytest.fixture
def live():
    """(stack, world) of a stack for one test."""
    with running_stack(replicas=2, time_wait_ms=500) as stack, worlds.real(stack) as world:
        yield stack, world
        world.close()


@pytest.fixture
def mortal():
    """Where a replica takes its connections with it."""
    with (
        running_stack(replicas=2, time_wait_ms=500, recovery="stateless") as stack,
        worlds.real(stack) as world,
    ):
        yield stack, world
        world.close()


def echo(subject, peer):
    subject.sendall(b"ping")
    assert peer.recv(10) == b"ping"
    peer.sendall(b"pong")
    assert subject.recv(10) == b"pong"


def kill(stack, component):
    """Kill it and wait until a successor runs."""
    old = stack.pids()[component]
    os.kill(old, signal.SIGKILL)

    def replaced():
        status = stack.status_or_none()
        return status and status["ready"] and stack.pids()[component] != old

    wait_for(replaced, 10, f"a successor of {component}")


def test_syscall_server(live):
    stack, world = live
    listener = world.listener()
    subject, peer = world.accepted()
    before = socket.stats()["reconnects"]
    os.kill(stack.pids()["syscall"], signal.SIGKILL)
    echo(subject, peer)
    late = world.peer_socket()
    late.connect(listener.getsockname())
    echo(world.keep(listener.accept()[0]), late)
    # This needs the new server, and waits for it.
    echo(*world.accepted())
    echo(*world.connected())
    assert socket.stats()["reconnects"] > before


def test_supervisor_and_driver(live):
    stack, world = live
    subject, peer = world.accepted()
    for component in ("supervisor", "driver"):
        kill(stack, component)
        echo(subject, peer)
    echo(*world.accepted())


def test_replicas(mortal):
    """Connections of the dead replica are reset at once, the others do not notice, the listener goes on."""
    stack, world = mortal
    listener = world.listener(50)
    pairs = []
    for _ in range(20):
        peer = world.peer_socket()
        peer.connect(listener.getsockname())
        pairs.append((world.keep(listener.accept()[0]), peer))
    kill(stack, "replica0")
    lost = 0
    for subject, peer in pairs:
        subject.setblocking(False)
        try:
            subject.recv(1)
        except BlockingIOError:
            subject.setblocking(True)
            echo(subject, peer)
        except ConnectionResetError:
            lost += 1
            assert subject.recv(1) == b""
    assert 0 < lost < len(pairs)
    for _ in range(10):
        peer = world.peer_socket()
        peer.connect(listener.getsockname())
        echo(world.keep(listener.accept()[0]), peer)


def test_what_is_sent_to_a_dead_replica_does_not_vanish(mortal):
    """Also to who never looks at the descriptor: the segment says it, long before the ring is full."""
    stack, world = mortal
    listener = world.listener(50)
    subjects = []
    for _ in range(20):
        peer = world.peer_socket()
        peer.connect(listener.getsockname())
        subjects.append(world.keep(listener.accept()[0]))
    kill(stack, "replica0")

    def send(subject):
        try:
            return subject.send(b"x")
        except OSError as error:
            return type(error)

    # It was replaced, so the word is out: no call succeeds any more.
    first, second = [send(subject) for subject in subjects], [send(subject) for subject in subjects]
    lost = [at for at, said in enumerate(first) if said is ConnectionResetError]
    assert 0 < len(lost) < len(subjects)
    assert [at for at, said in enumerate(second) if said is BrokenPipeError] == lost
    assert all(said == 1 for at, said in enumerate(first) if at not in lost)
    with pytest.raises(OSError, match="not connected"):
        subjects[lost[0]].getpeername()


def test_udp_over_replicas_that_are_replaced(live):
    stack, world = live
    subject = world.socket(std.SOCK_DGRAM)
    subject.bind((world.host, 0))
    peers = [world.peer_socket(std.SOCK_DGRAM) for _ in range(8)]
    subject.settimeout(5)
    for component in ("replica0", "replica1", "replica0"):
        kill(stack, component)
        for n, peer in enumerate(peers):
            peer.sendto(b"%d" % n, subject.getsockname())
            data, address = subject.recvfrom(10)
            assert data == b"%d" % n
            subject.sendto(data, address)
            assert peer.recv(10) == data


@pytest.mark.parametrize("mtu", [576, 1500, 9000])
def test_a_datagram_is_as_long_as_the_mtu_or_is_refused(mtu):
    with running_stack(replicas=2, mtu=mtu) as stack, worlds.real(stack) as world:
        subject, peer = world.socket(std.SOCK_DGRAM), world.peer_socket(std.SOCK_DGRAM)
        peer.bind((world.peer_host, 0))
        most = mtu - 28
        for _ in range(2):
            with pytest.raises(OSError, match="too long"):
                subject.sendto(bytes(most + 1), peer.getsockname())
            with pytest.raises(OSError, match="too long"):
                subject.sendmsg([bytes(most), b"x"], (), 0, peer.getsockname())
            assert subject.sendto(bytes(most), peer.getsockname()) == most
            assert len(peer.recv(65536)) == most
            subject.connect(peer.getsockname())
            with pytest.raises(OSError, match="too long"):
                subject.send(bytes(most + 1))
        world.close()


def test_a_forked_child_after_the_syscall_server_was_replaced(live):
    stack, world = live
    listener = world.listener()
    kill(stack, "syscall")
    pid = os.fork()
    if pid == 0:
        try:
            accepted, _ = listener.accept()
            accepted.sendall(accepted.recv(10).upper())
            other = world.listener()
            os._exit(0 if other.getsockname()[1] else 1)
        finally:
            os._exit(1)
    peer = world.peer_socket()
    peer.connect(listener.getsockname())
    peer.sendall(b"hello")
    assert peer.recv(10) == b"HELLO"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
