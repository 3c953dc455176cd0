"""A replica is killed at each of its system calls in turn, and a successor goes on: what an application and a
peer do together comes out the same.

Each scene is played again and again: the first time the replica is killed at its first system call after the
set-up, then at its second, until it comes to the end. The scenes hold for a replica that nobody kills as well;
a kill may only delay them.
"""

import json
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
    PATIENCE_S,
    PEER,
    REQ_ACCEPTED,
    ROOT,
    ST_CONNECTED,
    ST_RDHUP,
    STACK,
    Peer,
    World,
    await_true,
    pair,
    receive,
)
from tests.replica.test_pollers import Bell, set_waiters, sleep, take_bit
from tests.replica.test_replica import await_poll
from tests.replica.test_spares import await_kept, bring, close_and_keep, connect, entry, first, next_one

MOST = 400  # system calls in a scene: more means that it does not end


class KilledWorld(World):
    """Its replica lives in the killer."""

    def __init__(self, killer):
        super().__init__(msgspec.structs.replace(CONFIG, recovery="stateful", max_connections=64))
        self.killer = killer

    def start(self, incarnation=1, state=0):
        record = {"op": "start", "boot": self.boot(incarnation, state).to_json()}
        socket.send_fds(self.killer, [json.dumps(record).encode()], list(self.fds.values()))
        self.killer.recv(4096)

    def ask_killer(self, **request):
        self.killer.send(json.dumps(request).encode())
        return json.loads(self.killer.recv(4096))

    def frames(self):
        found = super().frames()
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


def until_it_ends(killer, set_up, play):
    """Play the scene with a kill at its n-th system call, for each n. `set_up` is not disturbed, and what it
    returns is given to `play`."""
    died_of = []
    for at in range(1, MOST):
        world = KilledWorld(killer)
        try:
            world.start()
            world.welcome()
            given = set_up(world)
            world.ask_killer(op="arm", at=at)
            try:
                play(world, *given)
            except BaseException as error:
                killed = world.ask_killer(op="stop")["killed"]
                error.add_note(f"killed at system call {at}, {killed}; before that at {died_of}")
                raise
            killed = world.ask_killer(op="stop")["killed"]
        finally:
            world.close()
        if killed is None:
            return died_of
        died_of.append(killed)
    raise AssertionError("it does not end")


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


def test_a_connection_from_accept_to_the_end(killer):
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

    died = until_it_ends(killer, server, play)
    print(died)
    assert "recvmsg" in died
