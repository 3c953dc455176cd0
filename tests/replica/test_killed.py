"""A replica is killed at each of its system calls in turn, and a successor goes on: what an application and
a peer do together comes out the same.

Each scene is played again and again: once to the end, then for each kind of system call that the replica was
seen to make after the set-up: it is killed at its first of that kind, then at its second, until it comes to
the end. Kinds are counted apart because how often it rings and clears doorbells differs from time to time:
counted together, a call that is the fourth now and the fifth the next time would never be died of.
The scenes hold for a replica that nobody kills as well; a kill may only delay them.
"""

import contextlib
import functools
import json
import random
import select
import socket
import subprocess
import sys

import msgspec
import pytest
from scapy.layers.inet import IP, TCP, UDP

from neat.abi import layout
from neat.abi.messages import PROTO_TCP, Address, Message, Op
from tests.replica.conftest import (
    CONFIG,
    DATAPATHS,
    PATIENCE_S,
    PEER,
    REQ_ACCEPTED,
    ROOT,
    ST_CONNECTED,
    ST_ERROR,
    ST_RDHUP,
    STACK,
    VOUCHED,
    Peer,
    World,
    await_true,
    pair,
    receive,
)
from tests.replica.test_pollers import Bell, set_waiters, sleep, take_bit
from tests.replica.test_replica import await_poll
from tests.replica.test_spares import await_kept, bring, close_and_keep, connect, entry, first, next_one

KILLS, MOST_STEPS = 40, 4.3  # the latter to the power of ten
MOST = 400  # system calls of a kind in a scene: more means that it does not end


class KilledWorld(World):
    """Its replica lives in the killer."""

    def __init__(self, killer, datapath):
        settings = {"recovery": "stateful", "max_connections": 64, "datapath": datapath}
        super().__init__(msgspec.structs.replace(CONFIG, **settings))
        self.killer = killer
        self.may_reset = False

    def start(self, incarnation=1, state=0):
        record = {"op": "start", "boot": self.boot(incarnation, state).to_json()}
        socket.send_fds(self.killer, [json.dumps(record).encode()], list(self.fds.values()))
        self.killer.recv(4096)

    def ask_killer(self, **request):
        self.killer.send(json.dumps(request).encode())
        return json.loads(self.killer.recv(4096))

    def counters(self):
        """Of a replica that runs: one that starts has none yet."""
        await_true(lambda: (page := self.board.read("replica0")) and page.state_name == "running", "it runs")
        return super().counters() if self.board.read("replica0") else self.counters()

    def frames(self):
        found = super().frames()
        if self.may_reset:
            return found
        resets = [frame for frame in found if TCP in frame and "R" in frame[TCP].flags]
        assert not resets, "a connection that exists is reset"
        return found


@pytest.fixture(scope="module")
def killer():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(2 * PATIENCE_S)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.replica.killer", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
    )
    theirs.close()
    yield ours
    ours.close()
    process.wait(PATIENCE_S)


@pytest.fixture(params=DATAPATHS)
def world_of(killer, request):
    """Makes worlds, one after another."""
    return functools.partial(KilledWorld, killer, request.param)


def until_it_ends(world_of, set_up, play):
    """Play the scene with a kill at its n-th system call of each kind, for each kind and n. Returns what it
    died of. `set_up` is not disturbed, and what it returns is given to `play`."""
    kinds, died_of = ["none"], []
    for kind in kinds:  # grows
        for at in range(1, MOST):
            told = play_once(world_of, set_up, play, kind, at)
            kinds += [call for call in told["calls"] if call not in kinds]
            if told["killed"] is None:
                break
            died_of.append(told["killed"])
        else:
            raise AssertionError("it does not end")
    return died_of


def play_once(world_of, set_up, play, kind, at, steps=0):
    """With a kill at the at-th system call of that kind, or some instructions behind it. Returns what the
    killer tells of it."""
    world = world_of()
    try:
        world.start()
        world.welcome()
        given = set_up(world)
        world.ask_killer(op="arm", at=at, call=kind, steps=steps)
        try:
            play(world, *given)
        except BaseException as error:
            error.add_note(
                f"killed at {kind} number {at} and {steps} instructions: {world.ask_killer(op='stop')}"
            )
            raise
        return world.ask_killer(op="stop")
    finally:
        world.close()


def server(world):
    return world.attach(), world.listen()


def exchange(channel, message, end, peer, text):
    """Bytes in, with a token, and bytes out."""
    sock = message.sock
    peer.send("PA", text)
    await_poll(end, select.POLLIN)
    got = b""
    while len(got) < len(text):
        await_poll(end, select.POLLIN)
        if end.recv(8) == b"t":
            channel.put(sock, "in_token", 0)
        got += channel.read(sock)
    assert got == text
    channel.write(sock, text[::-1])
    peer.expect("its answer", lambda tcp: bytes(tcp.payload)[: len(text)] == text[::-1])
    peer.send("A")


def accepted(world, channel, listener):
    peer = connect(world, 40000)
    message, end = world.accept(listener)
    channel.put(message.sock, "request", REQ_ACCEPTED)
    channel.touch(message.sock)
    assert channel.get(message.sock, "status") & ST_CONNECTED
    return message, end, peer


def test_a_connection_from_accept_to_the_end(world_of):
    def play(world, channel, listener):
        message, end, peer = accepted(world, channel, listener)
        exchange(channel, message, end, peer, b"hello")
        peer.send("FA")
        await_poll(end, select.POLLRDHUP)
        assert channel.get(message.sock, "status") & ST_RDHUP
        end.close()
        peer.expect("FIN", lambda tcp: "F" in tcp.flags)
        peer.send("A")
        await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")

    died_of = until_it_ends(world_of, server, play)
    assert {"recvmsg", "sendto"} <= set(died_of)


def test_a_successor_that_is_killed_in_its_recovery(world_of):
    """At every seventh of its system calls, from its first to when it serves; the one after it goes on."""
    at, kills = 1, 2
    while kills == 2:
        world = world_of()
        try:
            world.start()
            world.welcome()
            channel, listener = server(world)
            message, end, peer = accepted(world, channel, listener)
            world.ask_killer(op="arm", at=1, then=at)
            try:
                exchange(channel, message, end, peer, b"hello")
                exchange(channel, message, end, peer, b"again")
            except BaseException as error:
                error.add_note(f"the successor was killed at system call {at}: {world.ask_killer(op='stop')}")
                raise
            kills = world.ask_killer(op="stop")["kills"]
        finally:
            world.close()
        at += 7
        assert at < 7 * MOST
    assert at > 100


@pytest.mark.parametrize("vouched", [0, 2])
def test_a_frame_that_was_read_and_not_handled_is_found(killer, vouched):
    """Killed at the end of a read() of its queue, again and again: a peer need not repeat what it sent. The
    intake is wrapped meanwhile. Its text was guessed to belong where it does; it is not looked at when the
    device does not vouch for its checksum."""
    world = KilledWorld(killer, "queues")
    world.vnet = bytes([vouched]) + world.vnet[1:]
    try:
        world.start()
        world.welcome()
        channel, listener = server(world)
        message, _end, peer = accepted(world, channel, listener)
        for number in range(KILLS):
            text, had = bytes([number]) * 20_000, channel.get(message.sock, "rx_tail")
            world.ask_killer(op="arm", at=1, call="read done")
            peer.send("PA", text)
            await_true(lambda e=had + 20_000: channel.get(message.sock, "rx_tail") == e, f"text {number}")
            assert channel.read(message.sock) == text
        told = world.ask_killer(op="stop")
    finally:
        world.close()
    assert (told["kills"], told["killed"]) == (KILLS, "read done")


@contextlib.contextmanager
def two_flows(killer):
    """(world, channel, flow, other flow) with a queue of its own; a flow: the accepted connection's message,
    and its peer."""
    world = KilledWorld(killer, "queues")
    world.vnet = VOUCHED
    try:
        world.start()
        world.welcome()
        channel, listener = server(world)
        message, _one_end, peer = accepted(world, channel, listener)
        other = connect(world, 40001)
        of_other, _other_end = world.accept(listener)
        yield world, channel, (message, peer), (of_other, other)
    finally:
        world.close()


@pytest.mark.parametrize("size", [9_000, 60_000])
def test_a_frame_of_another_flow_was_read_and_not_handled(killer, size):
    """Its text was guessed to belong to the flow whose long text came last, which has room for some of it."""
    with two_flows(killer) as (world, channel, (message, peer), (of_other, other)):
        rng = random.Random(size)
        peer.send("PA", rng.randbytes(25_000))
        peer.expect("ACK", lambda tcp: tcp.ack == peer.seq)
        peer.send("PA", rng.randbytes(15_000))
        peer.expect("ACK", lambda tcp: tcp.ack == peer.seq)
        world.ask_killer(op="arm", at=1, call="read done")
        text = rng.randbytes(size)
        other.send("PA", text)
        await_true(lambda: channel.get(of_other.sock, "rx_tail") == size, "its text")
        assert channel.read(of_other.sock) == text
        assert channel.get(message.sock, "rx_tail") == 40_000
        told = world.ask_killer(op="stop")
    assert (told["kills"], told["killed"]) == (1, "read done")


def begin_long(world, channel, message, peer, rng):
    """After this text, what comes next is guessed to belong to this flow."""
    text, had = rng.randbytes(5_000), channel.get(message.sock, "rx_tail")
    peer.send("PA", text)
    await_true(lambda: channel.get(message.sock, "rx_tail") == had + 5_000, "long text")
    assert channel.read(message.sock) == text


@pytest.mark.parametrize("what", ["as guessed", "of another flow", "behind a gap"])
def test_killed_while_it_handles_long_text(killer, what):
    """After some instructions, again and again; nobody sends anything twice."""
    rng = random.Random(what)
    with two_flows(killer) as (world, channel, (message, peer), (of_other, other)):
        for number in range(KILLS):
            begin_long(world, channel, message, peer, rng)
            text, gap = rng.randbytes(rng.randrange(4_096, 20_000)), b""
            to, via = (of_other, other) if what == "of another flow" else (message, peer)
            end = channel.get(to.sock, "rx_tail") + len(text)
            steps = int(10 ** rng.uniform(0, MOST_STEPS))
            world.ask_killer(op="arm", at=1, call="read done", steps=steps)
            if what == "behind a gap":
                gap = rng.randbytes(rng.randrange(1, 20_000))
                late = peer.segment("PA", gap)
                peer.seq, end = peer.seq + len(gap), end + len(gap)
                peer.send("PA", text)
                world.inject(late)
            else:
                via.send("PA", text)
            await_true(lambda e=end, to=to: channel.get(to.sock, "rx_tail") == e, f"text {number}, {steps}")
            assert channel.read(to.sock) == gap + text, f"text {number}, killed after {steps} instructions"
        told = world.ask_killer(op="stop")
    assert (told["kills"], told["killed"]) == (KILLS, "read done")


def keep_and_bring(world, channel, listener):
    message, peer, end = first(world, (channel, listener))
    close_and_keep((channel, listener), message, peer, 2)
    await_kept((channel, listener), 2)
    message, peer = next_one(world, (channel, listener), 40001)
    bring((channel, listener), message, 2)
    await_true(lambda: entry(channel, 2) == 0, "its place is free")
    set_waiters(channel, message.sock, layout.NEAT_WAITERS_UNSEEN)
    exchange(channel, message, end, peer, b"again")


def test_a_pair_that_is_kept_and_brought_again(world_of):
    until_it_ends(world_of, server, keep_and_bring)


@pytest.mark.parametrize("at", [1, 2])
def test_a_pair_changes_its_owner_between_two_instructions(killer, at):
    """It is the connection's and the spare's for a while. It stops being watched just before that."""
    for steps in range(0, 64, 2):
        play_once(lambda: KilledWorld(killer, "driver"), server, keep_and_bring, "epoll_ctl", at, steps)


def test_a_connection_that_the_application_opens(world_of):
    def play(world, channel, _listener):
        ours, theirs = pair()
        ours.send(b"c")
        ours.send(b"x")
        remote = Address.ipv4(PEER, 8080, PROTO_TCP)
        order = Message(Op.CONNECT_VIA, app=1, remote=remote, local=Address.ipv4(STACK, 0), u=(1,))
        world.say(order, theirs.fileno())
        theirs.close()
        told, _ = receive(ours)
        assert told.op == Op.CONNECTING
        channel.put(told.sock, "rcvlowat", 1)  # neat_options_apply()
        peer = Peer(world, 8080, told.local.port)
        peer.expect("SYN", lambda tcp: tcp.flags == "S")
        peer.send("SA")
        peer.expect("ACK", lambda tcp: tcp.flags == "A")
        await_true(lambda: channel.get(told.sock, "out_block") == 0, "the fill was taken")
        await_poll(ours, select.POLLOUT)
        exchange(channel, told, ours, peer, b"hello")

    until_it_ends(world_of, server, play)


def test_a_reset_is_told_and_what_came_before_it_is_read(world_of):
    def play(world, channel, listener):
        message, end, peer = accepted(world, channel, listener)
        peer.send("PA", b"last words")
        await_true(lambda: channel.get(message.sock, "rx_tail") == 10, "its bytes")
        peer.send("RA")
        assert await_poll(end, select.POLLHUP) & select.POLLERR
        assert channel.get(message.sock, "status") & ST_ERROR
        assert channel.read(message.sock) == b"last words"
        assert channel.get(message.sock, "generation") == message.generation
        end.close()
        await_true(lambda: world.counters()["descriptors"] == 0, "its descriptor is closed")

    until_it_ends(world_of, server, play)


def test_sockets_are_set_up_and_closed(world_of):
    def play(world):
        channel, listener, datagrams = world.attach(), world.listen(), world.udp()
        message, end, peer = accepted(world, channel, listener)
        exchange(channel, message, end, peer, b"hello")
        world.inject(IP(src=PEER, dst=STACK) / UDP(sport=5000, dport=53) / b"query")
        got = b""
        while not got:  # a token only says that one should look
            await_poll(datagrams, select.POLLIN)
            assert datagrams.recv(8) == b"t"
            channel.put(4, "in_token", 0)
            got = channel.read(4)
        assert got[32:37] == b"query"
        datagrams.close()
        listener.close()
        await_true(lambda: world.counters()["udp_sockets"] == 0, "the datagram socket is unbound")
        await_true(lambda: world.counters()["listeners"] == 0, "nobody listens")
        exchange(channel, message, end, peer, b"still")

    until_it_ends(world_of, lambda world: (), play)


def test_a_poller_is_woken(world_of):
    def set_up(world):
        channel, listener = server(world)
        message, end, peer = accepted(world, channel, listener)
        bell = Bell(world, 3)
        bell.read()
        set_waiters(channel, message.sock, 1 << 3)
        return channel, message, end, peer, bell

    def play(world, channel, message, end, peer, bell):
        for text in (b"first", b"second"):
            sleep(channel, 3)
            peer.send("PA", text)
            got = b""
            while len(got) < len(text):
                bell.read()
                if take_bit(channel, message.sock):
                    got += channel.read(message.sock)
                sleep(channel, 3)
                if take_bit(channel, message.sock):  # the last look before the sleep
                    got += channel.read(message.sock)
            assert got == text

    until_it_ends(world_of, set_up, play)
