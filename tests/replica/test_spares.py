"""Pairs that serve one connection after another, as the replica keeps and gives them."""

import select
import struct

import pytest

from neat.abi import layout
from neat.abi.messages import Message, Op
from tests.replica.conftest import CORD, PATIENCE_S, REQ_ACCEPTED, Peer, await_true, receive
from tests.replica.test_pollers import UNSEEN, request, set_waiters
from tests.replica.test_replica import await_poll, poll

REQ_NOTIFY, REQ_CLOSE, REQ_KEPT = layout.NEAT_REQ_NOTIFY, layout.NEAT_REQ_CLOSE, layout.NEAT_REQ_KEPT
ME = CORD  # the process: the upper half of the names that it gives
TABLE, PLACES = layout.NEAT_SPARES_OFFSET, layout.NEAT_SPARES


@pytest.fixture
def server(world):
    """(channel, listener) of an application that looks first, and keeps."""
    channel, listener = world.attach(), world.listen()
    world.ends.append(listener)
    return channel, listener


def entry(channel, place):
    return struct.unpack_from("<Q", channel.memory, TABLE + place * 8)[0]


def set_entry(channel, place, name):
    struct.pack_into("<Q", channel.memory, TABLE + place * 8, name)


def name_of(place, who=ME, number=5):
    return who << 32 | number << 8 | place << 1


def connect(world, sport):
    peer = Peer(world, sport)
    peer.connect()
    return peer


def first(world, server, sport=40000):
    """A connection over a new pair: its message, its peer, its end."""
    peer = connect(world, sport)
    message, fds = receive(server[1])
    assert not fds
    end = world.claim(message, waiters=0)
    world.ends.append(end)
    return message, peer, end


def keep(server, message, place, name):
    channel, _ = server
    set_entry(channel, place, name)
    channel.put(message.sock, "kept", name)
    request(channel, message.sock, REQ_ACCEPTED | REQ_CLOSE | REQ_KEPT)


def close_and_keep(server, message, peer, place=0, name=None):
    """The application closes, and its peer does."""
    channel, _ = server
    generation = channel.get(message.sock, "generation")
    keep(server, message, place, name_of(place) if name is None else name)
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    await_true(lambda: channel.get(message.sock, "generation") != generation, "its end")


def await_kept(server, place, name=None):
    name = name_of(place) if name is None else name
    await_true(lambda: entry(server[0], place) == name | 1, "the replica has kept it, too")


def next_one(world, server, sport):
    """(message, peer) of the next connection."""
    peer = connect(world, sport)
    message, fds = receive(server[1])
    assert message.op == Op.ACCEPT and not fds
    return message, peer


def bring(server, message, place=0, who=ME):
    server[0].put(message.sock, "claim", name_of(place, who))
    request(server[0], message.sock, REQ_ACCEPTED)


def heard(server, message, end):
    """Whether its replica sends tokens to `end` when nobody looks into memory."""
    set_waiters(server[0], message.sock, UNSEEN)
    request(server[0], message.sock, REQ_ACCEPTED | REQ_NOTIFY)
    return await_poll(end, select.POLLIN) & select.POLLIN and end.recv(8) == b"t"


def test_the_next_connection_brings_the_pair_of_the_last(world, server):
    message, peer, end = first(world, server)
    for turn in range(3):
        close_and_keep(server, message, peer, turn)
        await_kept(server, turn)
        message, peer = next_one(world, server, 40001 + turn)
        assert not poll(end, select.POLLIN)
        bring(server, message, turn)
        await_true(lambda place=turn: entry(server[0], place) == 0, "its place is free")
    world.await_counter("pairs_reused", 3)
    peer.send("PA", b"hello")
    assert heard(server, message, end)
    world.lose()
    assert await_poll(end, select.POLLIN) & select.POLLERR


def test_a_pair_is_kept_when_its_tokens_were_read(world, server):
    channel, _ = server
    message, peer, end = first(world, server)
    for turn in range(2):
        peer.send("PA", b"hello")
        assert heard(server, message, end)
        channel.read(message.sock)
        channel.put(message.sock, "in_token", turn)  # in the second turn it says that one is unread
        close_and_keep(server, message, peer)
        message, peer = next_one(world, server, 40001 + turn)
        if turn == 0:
            bring(server, message)
    assert await_poll(end, select.POLLIN) & select.POLLHUP
    assert entry(channel, 0) == 0


def test_a_pair_with_a_farewell_in_it_is_not_kept(world, server):
    message, peer, end = first(world, server)
    set_waiters(server[0], message.sock, UNSEEN)
    peer.send("FPA", b"bye")
    assert await_poll(end, select.POLLRDHUP) & select.POLLRDHUP
    server[0].read(message.sock)
    server[0].put(message.sock, "in_token", 0)
    keep(server, message, 5, name_of(5))
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("A")
    await_true(lambda: poll(end) & select.POLLHUP, "the stack's end is closed")
    await_true(lambda: entry(server[0], 5) == 0, "its place is free")


def test_a_watched_pair_is_kept_too(world, server):
    """One that lived so long that its hang-up is listened for; and is again, when it serves another."""
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    for turn in range(3):
        message, peer = next_one(world, server, 40001 + turn)
        bring(server, message)
        select.select([], [], [], 0.05)
        close_and_keep(server, message, peer)
        await_kept(server, 0)
    message, _ = next_one(world, server, 40010)
    bring(server, message)
    world.await_counter("pairs_reused", 4)
    assert world.counters()["hangups"] == 0
    end.close()
    world.await_counter("hangups", 1)


def test_what_came_before_it_was_brought_is_heard(world, server):
    """Bytes and the end of the stream; nothing of that may be signalled to a descriptor that is not known."""
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    message, peer = next_one(world, server, 40001)
    peer.send("FPA", b"hello")
    await_true(lambda: server[0].get(message.sock, "rx_tail") == 5, "its bytes")
    assert not poll(end, select.POLLIN | select.POLLRDHUP)
    bring(server, message)
    assert heard(server, message, end)
    assert await_poll(end, select.POLLRDHUP) & select.POLLRDHUP


def test_what_comes_before_the_replica_has_looked_is_heard(world, server):
    """accept() and a wait on the descriptor, and only a frame that makes the replica look."""
    channel, _ = server
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    message, peer = next_one(world, server, 40001)
    channel.put(message.sock, "claim", name_of(0))
    channel.put(message.sock, "request", REQ_ACCEPTED)
    set_waiters(channel, message.sock, UNSEEN)
    peer.send("PA", b"hello")
    assert await_poll(end, select.POLLIN) & select.POLLIN
    assert end.recv(8) == b"t"


@pytest.mark.parametrize("flags", ["RA", "FA"])
def test_brought_to_what_is_over(world, server, flags):
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    message, peer = next_one(world, server, 40001)
    peer.send(flags)
    bit = 4 if flags == "RA" else 2
    await_true(lambda: server[0].get(message.sock, "status") & bit, "it is over")
    bring(server, message)
    set_waiters(server[0], message.sock, UNSEEN)
    request(server[0], message.sock, REQ_NOTIFY)
    wanted = select.POLLERR if flags == "RA" else select.POLLRDHUP
    assert await_poll(end, select.POLLRDHUP) & wanted


def test_accepted_and_closed_before_the_replica_has_looked(world, server):
    """The pair that was brought is kept again, in another place."""
    channel, _ = server
    message, peer, _ = first(world, server)
    close_and_keep(server, message, peer)
    for turn in range(4):
        here, there = turn % 2, 1 - turn % 2
        message, peer = next_one(world, server, 40001 + turn)
        channel.put(message.sock, "claim", name_of(here))
        set_entry(channel, there, name_of(there))
        channel.put(message.sock, "kept", name_of(there))
        request(channel, message.sock, REQ_ACCEPTED | REQ_CLOSE | REQ_KEPT)
        peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
        peer.send("FA")
        await_kept(server, there)
        assert entry(channel, here) == 0
    await_true(lambda: world.counters()["spares"] == 1 and not world.counters()["descriptors"], "one")


@pytest.mark.parametrize("brought", [0, name_of(1), name_of(0, number=6), name_of(0, 8), 2**64 - 2])
def test_who_brings_what_there_is_not_loses_the_connection(world, server, brought):
    message, peer, _ = first(world, server)
    close_and_keep(server, message, peer)
    message, peer = next_one(world, server, 40001)
    server[0].put(message.sock, "claim", brought)
    request(server[0], message.sock, REQ_ACCEPTED)
    peer.expect("its end", lambda tcp: "F" in tcp.flags or "R" in tcp.flags)
    world.await_counter("pairs_unknown", 1)
    assert entry(server[0], 0) == name_of(0) | 1  # for the next one


def test_a_word_that_was_meant_for_the_connection_before(world, server):
    """accept() may come so late that its index is another's: NEAT_REQ_ACCEPTED alone takes nothing."""
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    message, peer = next_one(world, server, 40001)
    request(server[0], message.sock, REQ_ACCEPTED)
    peer.send("PA", b"hello")
    await_true(lambda: server[0].get(message.sock, "rx_tail") == 5, "its bytes")
    assert not poll(end, select.POLLIN)
    bring(server, message)
    assert heard(server, message, end)


@pytest.mark.parametrize("entry_there", [0, name_of(3) | 1, name_of(3, number=9), name_of(3, 8)])
@pytest.mark.parametrize("name", [0, 1, name_of(3), name_of(3) | 1, 2**64 - 1])
def test_names_that_make_no_sense(world, server, entry_there, name):
    """The table, and what a close says of it, are anybody's in the application."""
    message, peer, end = first(world, server)
    set_entry(server[0], 3, entry_there)
    server[0].put(message.sock, "kept", name)
    request(server[0], message.sock, REQ_ACCEPTED | REQ_CLOSE | REQ_KEPT)
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    assert await_poll(end, select.POLLIN) & select.POLLHUP
    await_true(lambda: not world.counters()["descriptors"], "no descriptor is left")
    assert world.counters()["spares"] == 0
    assert entry(server[0], 3) == entry_there


def test_a_place_that_was_given_up_is_somebody_elses(world, server):
    kept = [first(world, server, 40000 + n) for n in range(2)]
    close_and_keep(server, *kept[0][:2])
    await_kept(server, 0)
    set_entry(server[0], 0, 0)
    close_and_keep(server, *kept[1][:2], 0, name_of(0, number=6))
    await_kept(server, 0, name_of(0, number=6))
    assert await_poll(kept[0][2], select.POLLIN) & select.POLLHUP
    message, peer = next_one(world, server, 41000)
    server[0].put(message.sock, "claim", name_of(0, number=6))
    request(server[0], message.sock, REQ_ACCEPTED)
    peer.send("PA", b"hello")
    assert heard(server, message, kept[1][2])


def test_a_name_that_was_taken_back_is_not_kept_under_the_next(world, server):
    """Its process has given the place up before its connection was over, and another one has it now."""
    kept = [first(world, server, 40000 + n) for n in range(2)]
    late, peer, end = kept[0]
    server[0].put(late.sock, "kept", name_of(0, number=1))
    set_entry(server[0], 0, name_of(0, number=2))  # of the other one, which is over only after this
    request(server[0], late.sock, REQ_ACCEPTED | REQ_CLOSE | REQ_KEPT)
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    assert await_poll(end, select.POLLIN) & select.POLLHUP
    close_and_keep(server, *kept[1][:2], 0, name_of(0, number=2))
    await_kept(server, 0, name_of(0, number=2))
    assert not poll(kept[1][2], select.POLLIN)


def test_with_the_listener_go_those_that_nobody_has_taken(world, server):
    """Not those that were taken, and that the replica has not looked at yet."""
    kept = [first(world, server, 40000 + n) for n in range(2)]
    for n, (message, peer, _) in enumerate(kept):
        close_and_keep(server, message, peer, n)
    offers = [next_one(world, server, 41000 + n) for n in range(2)]
    taken, peer = offers[0]
    server[0].put(taken.sock, "claim", name_of(0))
    server[0].put(taken.sock, "request", REQ_ACCEPTED)
    server[1].close()
    offers[1][1].expect("a reset", lambda tcp: "R" in tcp.flags)
    peer.send("PA", b"hello")
    assert heard(server, taken, kept[0][2])


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
def test_who_dies_between_the_message_and_his_word_resets_it(world, server, busy):
    """After some seconds, as nobody can know; also while there is always another message in the queue."""
    kept = [first(world, server, 40000 + n) for n in range(3)]
    for n, (message, peer, _) in enumerate(kept):
        close_and_keep(server, message, peer, n)
    peer = connect(world, 41000)
    other = connect(world, 41001)
    select.select([], [], [], 6.5)
    receive(server[1])
    if busy:
        connect(world, 41002)
    taken, _ = receive(server[1])
    bring(server, taken, 1)
    peer.expect("a reset", lambda tcp: "R" in tcp.flags)
    world.await_counter("accepts_lost", 1)
    other.send("PA", b"hello")
    assert heard(server, taken, kept[1][2])
    if busy:
        receive(server[1])
        assert world.counters()["accepts_lost"] == 1


def test_who_dies_before_he_could_ring_resets_it(world, server):
    """It is his, so nobody else may have it; and his end of the pair is gone."""
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    message, peer = next_one(world, server, 40001)
    server[0].put(message.sock, "claim", name_of(0))
    end.close()
    peer.expect("its end", lambda tcp: "F" in tcp.flags or "R" in tcp.flags)
    assert world.counters()["accepts_lost"] == 0


def test_kept_pairs_go_with_their_application(world, server):
    message, peer, end = first(world, server)
    close_and_keep(server, message, peer)
    await_true(lambda: world.counters()["hangups"] == 0 and world.counters()["spares"] == 1, "kept")
    server[1].close()
    world.say(Message(Op.APP_GONE, app=1))
    end.settimeout(PATIENCE_S)
    assert await_poll(end, select.POLLIN) & select.POLLHUP
    await_true(lambda: world.counters()["spares"] == 0, "no descriptor is left")


def test_a_process_that_dies_leaves_no_pair(world, server):
    """Its places are free at once, those of connections that are not over yet too; another's pairs stay."""
    channel, _ = server
    other = world.cord(number=7)
    kept = []
    for n in range(PLACES):
        kept.append(first(world, server, 40000 + n))
        request(channel, kept[-1][0].sock, REQ_ACCEPTED)
    for n, (message, peer, _) in enumerate(kept[:-1]):
        close_and_keep(server, message, peer, n, name_of(n, ME if n else 7))
    await_true(lambda: world.counters()["spares"] == PLACES - 1, "all are kept, but one")
    assert world.counters()["descriptors"] == 1  # that is open
    message, peer, _ = kept[-1]
    keep(server, message, PLACES - 1, name_of(PLACES - 1))
    for _, _, end in kept[1:]:
        end.close()
    channel.cord.close()
    await_true(lambda: [n for n in range(PLACES) if entry(channel, n)] == [0], "all places but the other's")
    peer.expect("its FIN", lambda tcp: "F" in tcp.flags)
    peer.send("FA")
    await_true(lambda: world.counters()["spares"] == 1, "those of the dead are gone")
    await_true(lambda: world.counters()["descriptors"] == 0, "and of its connection")
    message, peer = next_one(world, server, 41000)
    bring(server, message, 0, 7)
    world.await_counter("pairs_reused", 1)
    peer.send("PA", b"hello")
    assert heard(server, message, kept[0][2])
    other.close()
