"""Pairs that serve one connection after another, as the replica keeps and gives them."""

import select
import socket
import struct

import pytest

from neat.shim.messages import SOCK_BYTES, SOCKS_OFFSET, Message, Op
from tests.replica.conftest import PATIENCE_S, REQ_ACCEPTED, Peer, accept, await_true, receive
from tests.replica.test_pollers import WATCHER, request, set_word, word
from tests.replica.test_replica import await_poll, poll

LISTENER = 3
NONBLOCK, LOOKS, KEEPS = 1 << 7, 1 << 15, 1 << 16
REQ_RESIGNAL, REQ_CLOSE, REQ_KEPT, REQ_OFFER = 1 << 4, 1 << 5, 1 << 7, 1 << 8
NOBODY_YET = 0xFFFFFFFF
WHO = 9 << 32  # the process, in the names that it gives
SPARE = SOCKS_OFFSET + 120


@pytest.fixture
def server(world):
    """(channel, listener) of an application that looks first, and keeps."""
    channel, listener = world.attach(), world.listen()
    serve(channel)
    world.ends.append(listener)
    return channel, listener


def serve(channel, who=WHO):
    """So many connections of the listener came to one process that it is offered spares."""
    channel.put(LISTENER, "options", LOOKS | KEEPS)
    name_spare(channel, LISTENER, who | 64)


def name_spare(channel, sock, name):
    struct.pack_into("<Q", channel.memory, SPARE + sock * SOCK_BYTES, name)


def connect(world, sport):
    peer = Peer(world, sport)
    peer.connect()
    return peer


def first(world, server, sport=40000):
    """A connection over a new pair: its message, its peer, its end."""
    peer = connect(world, sport)
    message, end = accept(server[1])
    assert message.token == 0 and message.options == LOOKS | KEEPS
    world.ends.append(end)
    return message, peer, end


def close_and_keep(server, message, peer, name):
    """The application closes, and its peer does."""
    channel, _ = server
    name_spare(channel, message.sock, name)
    generation = channel.get(message.sock, "generation")
    request(channel, message.sock, REQ_ACCEPTED | REQ_CLOSE | REQ_KEPT)
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    await_true(lambda: channel.get(message.sock, "generation") != generation, "its end")


def next_one(world, server, sport):
    """(message, peer, descriptors) of the next connection."""
    peer = connect(world, sport)
    message, fds = receive(server[1])
    assert message.op == Op.ACCEPT
    return message, peer, fds


def heard(server, message, end):
    """Whether its replica sends tokens to `end` when nobody looks into memory."""
    set_word(server[0], WATCHER + message.sock * SOCK_BYTES, 0)
    request(server[0], message.sock, REQ_ACCEPTED | REQ_RESIGNAL)
    return await_poll(end, select.POLLIN) & select.POLLIN and end.recv(8) == b"t"


def test_the_next_connection_gets_the_pair_of_the_last(world, server):
    message, peer, end = first(world, server)
    for turn in range(3):
        close_and_keep(server, message, peer, WHO + 77 + turn)
        message, peer, fds = next_one(world, server, 40001 + turn)
        assert (message.token, fds) == (WHO + 77 + turn, [])
        assert not poll(end, select.POLLIN)
    assert world.counters()["pairs_reused"] == 3
    peer.send("PA", b"hello")
    assert heard(server, message, end)
    world.process.kill()
    assert await_poll(end, select.POLLIN) & select.POLLERR


def test_a_pair_is_kept_when_its_tokens_were_read(world, server):
    channel, _ = server
    message, peer, end = first(world, server)
    for turn in range(2):
        peer.send("PA", b"hello")
        assert heard(server, message, end)
        channel.read(message.sock)
        channel.put(message.sock, "in_token", turn)  # in the second turn it says that one is unread
        close_and_keep(server, message, peer, WHO + 8)
        message, peer, fds = next_one(world, server, 40001 + turn)
        assert (message.token, len(fds)) == ((WHO + 8, 0) if turn == 0 else (0, 1))
    assert await_poll(end, select.POLLIN) & select.POLLHUP


def test_a_pair_with_a_farewell_in_it_is_not_kept(world, server):
    message, peer, end = first(world, server)
    set_word(server[0], WATCHER + message.sock * SOCK_BYTES, 0)
    peer.send("FPA", b"bye")
    assert await_poll(end, select.POLLRDHUP) & select.POLLRDHUP
    server[0].read(message.sock)
    server[0].put(message.sock, "in_token", 0)
    name_spare(server[0], message.sock, WHO + 8)
    request(server[0], message.sock, REQ_ACCEPTED | REQ_CLOSE | REQ_KEPT)
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("A")
    await_true(lambda: poll(end) & select.POLLHUP, "the stack's end is closed")
    assert next_one(world, server, 40001)[0].token == 0


def test_who_looks_first_is_told_nothing_until_he_waits(world, server):
    """No token for what came before accept(), nor after it; the end of the stream is owed likewise."""
    channel, listener = server
    peer = connect(world, 40000)
    peer.send("PA", b"early")
    message, end = accept(listener)
    world.ends.append(end)
    peer.send("FPA", b"late")
    await_true(lambda: channel.get(message.sock, "rx_tail") == 9, "its bytes")
    assert word(channel, WATCHER + message.sock * SOCK_BYTES) == NOBODY_YET
    assert not poll(end, select.POLLIN | select.POLLRDHUP)
    assert heard(server, message, end)
    assert await_poll(end, select.POLLRDHUP) & select.POLLRDHUP


def test_who_does_not_look_first_gets_a_token(world):
    channel, listener = world.attach(), world.listen()
    world.ends.append(listener)
    peer = connect(world, 40000)
    peer.send("PA", b"early")
    message, end = accept(listener)
    world.ends.append(end)
    assert message.options == 0 and word(channel, WATCHER + message.sock * SOCK_BYTES) == 0
    assert await_poll(end, select.POLLIN) & select.POLLIN and end.recv(8) == b"t"


def test_a_kept_pair_is_not_for_a_listener_of_several_processes(world, server):
    message, peer, _ = first(world, server)
    close_and_keep(server, message, peer, WHO + 5)
    server[0].put(LISTENER, "options", LOOKS)
    message, _, fds = next_one(world, server, 40001)
    assert message.token == 0 and len(fds) == 1


def test_a_watched_pair_is_kept_too(world, server):
    """One that lived so long that its hang-up is listened for; and is again, when it serves another."""
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer, WHO + 1)
    for turn in range(3):
        message, peer, _ = next_one(world, server, 40001 + turn)
        assert message.token == WHO + 1 + turn
        select.select([], [], [], 0.05)
        close_and_keep(server, message, peer, WHO + 2 + turn)
    message, _, _ = next_one(world, server, 40010)
    assert message.token == WHO + 4 and world.counters()["hangups"] == 0
    request(server[0], message.sock, REQ_ACCEPTED)
    end.close()
    world.await_counter("hangups", 1)


def test_offered_again_with_a_new_pair(world, server):
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer, WHO + 9)
    message, peer, fds = next_one(world, server, 40001)
    assert (message.token, fds) == (WHO + 9, [])
    peer.send("PA", b"hello")
    request(server[0], message.sock, REQ_OFFER)
    again, other = accept(server[1])
    world.ends.append(other)
    assert again.token == 0
    assert (again.sock, again.generation) == (message.sock, message.generation)
    assert await_poll(end, select.POLLIN) & select.POLLHUP  # of no use to anybody
    # Once: it has its end now.
    request(server[0], message.sock, REQ_OFFER)
    assert heard(server, again, other)
    server[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        server[1].recv(200)


def test_a_spare_that_goes_before_it_was_accepted(world, server):
    """As in an exec. The connection stays, for whoever accepts it; when nobody does, it is reset."""
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer, WHO + 1)
    message, peer, _ = next_one(world, server, 40001)
    select.select([], [], [], 0.02)
    end.close()
    message, end = accept(server[1])
    assert message.token == 0
    world.ends.append(end)
    request(server[0], message.sock, REQ_OFFER)  # by who has found the first offer
    peer.send("PA", b"hello")
    assert heard(server, message, end)
    server[0].read(message.sock)
    server[0].put(message.sock, "in_token", 0)
    close_and_keep(server, message, peer, WHO + 2)
    message, peer, _ = next_one(world, server, 40002)
    assert message.token == WHO + 2
    server[1].close()
    peer.expect("a reset", lambda tcp: "R" in tcp.flags)
    assert await_poll(end, select.POLLIN) & select.POLLHUP


def test_offered_again_when_the_queue_is_full(world):
    """It takes its turn behind those that wait already."""
    server = world.attach(), world.listen(backlog=200)
    world.ends[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    serve(server[0])
    message, peer, _ = first(world, server)
    close_and_keep(server, message, peer, WHO + 9)
    spare, _, _ = next_one(world, server, 40001)
    others = 60
    for n in range(others):
        connect(world, 42000 + n)
    world.await_counter("accept_queue_full", 1)
    request(server[0], spare.sock, REQ_OFFER)
    seen = []
    while spare.sock not in seen:
        message, end = accept(server[1])
        world.ends.append(end)
        seen.append(message.sock)
    assert len(seen) == others + 1


def test_kept_pairs_go_with_their_application(world, server):
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer, WHO + 4)
    await_true(lambda: world.counters()["hangups"] == 0 and world.counters()["descriptors"] == 1, "kept")
    server[1].close()
    world.say(Message(Op.APP_GONE, app=1))
    end.settimeout(PATIENCE_S)
    assert await_poll(end, select.POLLIN) & select.POLLHUP
    await_true(lambda: world.counters()["descriptors"] == 0, "no descriptor is left")


@pytest.mark.parametrize("name", [0, WHO, WHO + 1, WHO + 2**32 - 1])
def test_names_are_the_applications_own(world, server, name):
    """Also one that it gives twice. Nothing that it says hurts anybody else."""
    kept = [first(world, server, 40000 + n) for n in range(2)]
    for message, peer, _ in kept:
        close_and_keep(server, message, peer, name)
    await_true(lambda: world.counters()["descriptors"] == (2 if name else 0), "kept, or not")
    for n in range(2):
        message, _, fds = next_one(world, server, 41000 + n)
        assert message.token == name and len(fds) == (0 if name else 1)
    assert world.process.poll() is None


def test_each_process_gets_its_own(world, server):
    """Two of one application; which of them accepts is what the listener says."""
    kept = [first(world, server, 40000 + n) for n in range(4)]
    for n, (message, peer, _) in enumerate(kept):
        close_and_keep(server, message, peer, (7 + n % 2 << 32) + n)
    seen = []
    for n, who in enumerate((7, 8, 6, 7, 7, 8)):
        name_spare(server[0], LISTENER, who << 32)
        message, _, _ = next_one(world, server, 41000 + n)
        seen.append((message.token >> 32, message.token & 0xFF))
    assert seen == [(7, 2), (8, 3), (0, 0), (7, 0), (0, 0), (8, 1)]


def test_the_oldest_makes_way(world, server):
    """Its process may have died; no application has more than 64."""
    kept = []
    for n in range(70):
        message, peer, end = first(world, server, 40000 + n)
        request(server[0], message.sock, REQ_ACCEPTED)
        kept.append((message, peer, end))
    for n, (message, peer, _) in enumerate(kept):
        close_and_keep(server, message, peer, WHO + 100 + n)
    await_true(lambda: world.counters()["descriptors"] == 64, "64 pairs")
    over = [bool(poll(end) & select.POLLHUP) for _, _, end in kept]
    assert over == [True] * 6 + [False] * 64
    assert next_one(world, server, 41000)[0].token == WHO + 169


def test_a_spare_that_goes_while_its_connection_is_queued(world):
    """The connection keeps its place, and gets another pair."""
    server = world.attach(), world.listen(backlog=200)
    world.ends[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    serve(server[0])
    kept = [first(world, server, 39000 + n) for n in range(60)]
    for n, (message, peer, _) in enumerate(kept):
        close_and_keep(server, message, peer, WHO + 1 + n)
    for n in range(60):
        connect(world, 42000 + n)
    world.await_counter("accept_queue_full", 1)
    select.select([], [], [], 0.02)
    for _, _, end in kept:
        end.close()
    socks = set()
    while len(socks) < 60:
        message, fds = receive(server[1])
        for fd in fds:
            world.ends.append(socket.socket(fileno=fd))
            socks.add(message.sock)
            request(server[0], message.sock, REQ_ACCEPTED)
    assert world.counters()["tcp_aborts"] == 0
