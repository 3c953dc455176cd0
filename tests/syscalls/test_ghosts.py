"""Applications whose last process is gone: what is only on its way through a queue that nobody reads is held
by nobody, and what a living process holds is not ended."""

import os
import socket

import pytest

from neat.shm import rights
from tests.support import wait_for
from tests.syscalls.conftest import pair

PATIENCE_S = 60


def send(over, *socks):
    socket.send_fds(over, [b"!"], [sock.fileno() for sock in socks])


def prober(world):
    """Whether a port is free."""
    client = world.client()
    client.hello()

    def free(port):
        reply, end = client.bind(port)
        end.close()
        return reply.error == 0

    return free


def into_itself(_client, one, _other):
    send(one, one)


def in_a_circle(_client, one, other):
    send(one, other)
    send(other, one)


def through_a_third(_client, one, other):
    ours, theirs = socket.socketpair()
    send(ours, one, other)
    send(one, theirs)


def with_its_connection(client, one, other):
    """Not even the hang-up of its registration is heard."""
    send(one, client.sock, other)
    send(other, one)


@pytest.mark.parametrize("how", [into_itself, in_a_circle, through_a_third, with_its_connection])
def test_a_circle_ends_with_its_application(world, how):
    world.bring_up(0)
    pid = os.fork()
    if pid == 0:
        client = world.client()
        client.hello()
        (_, one), (_, other) = client.bind(80), client.bind(81)
        how(client, one, other)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    free = prober(world)
    for port in (80, 81):
        wait_for(lambda port=port: free(port), PATIENCE_S, f"port {port} is free again")
    wait_for(lambda: world.counter("apps_gone") == 1, PATIENCE_S, "the application is forgotten")


def test_what_another_process_has_goes_on(world):
    """It was passed on with SCM_RIGHTS before its application ended; nobody registered for it."""
    world.bring_up(0)
    there, here = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        client = world.client()
        client.hello()
        (_, one), (_, other) = client.bind(80), client.bind(81)
        send(there, one)
        send(other, other)
        send(one, one)  # here, and in a queue
        os._exit(0)
    _data, (kept,), _flags, _address = socket.recv_fds(here, 16, 1)
    assert os.waitpid(pid, 0)[1] == 0
    free = prober(world)
    wait_for(lambda: free(81), PATIENCE_S, "what nobody has is gone")
    assert not free(80)
    os.close(kept)
    wait_for(lambda: free(80), PATIENCE_S, "and what is given up, too")


def test_a_child_that_said_nothing_keeps_it(world):
    """It has inherited the socket, and its parent's connection."""
    world.bring_up(0)
    there, here = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        client = world.client()
        client.hello()
        _one, (_, other) = client.bind(80), client.bind(81)
        send(other, other)
        if os.fork() == 0:
            other.close()
            there.send(b"x")
            here.close()
            there.recv(1)
            os._exit(0)
        os._exit(0)
    here.recv(1)
    there.close()
    assert os.waitpid(pid, 0)[1] == 0
    free = prober(world)
    wait_for(lambda: free(81), PATIENCE_S, "what nobody has is gone")
    assert not free(80)
    here.close()
    wait_for(lambda: free(80), PATIENCE_S, "with the child")


def test_only_a_queue_with_a_descriptor_is_emptied():
    ours, theirs = pair()
    ours.send(b"canary")
    assert rights.waiting(theirs.fileno()) == 0
    assert not rights.discard(theirs.fileno())
    assert theirs.recv(8, socket.MSG_PEEK) == b"canary"
    send(ours, ours, ours)
    send(ours, ours)
    assert rights.waiting(theirs.fileno()) == 3
    assert rights.discard(theirs.fileno())
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(8)
    read, write = os.pipe()
    assert rights.waiting(read) == rights.waiting(-1) == 0
    os.close(read)
    os.close(write)
