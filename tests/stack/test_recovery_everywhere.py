"""The engine dies at every store to its segments in turn; a fresh one goes on, and the script comes to its
right end: nothing lost, nothing twice, nothing wrong."""

import platform
from errno import ECONNREFUSED, ECONNRESET

import pytest

from neat.abi import layout

from .harness.everywhere import PEER_PORT, UDP_SOCK, World

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="single steps are for x86-64")


def streams_are_whole(world: World) -> str | None:
    """Each side has what the other sent; who closed is acknowledged and heard; nobody was reset."""
    peer = world.things.peers[PEER_PORT]
    if not world.things.sockets:
        return "no connection was accepted"
    socket = world.things.sockets[-1]
    if peer.resets:
        raise AssertionError("the peer was reset")
    if socket.waiting or peer.received != socket.sent:
        return f"the peer has {len(peer.received)} of {len(socket.sent)} bytes"
    if socket.received != peer.out:
        return f"the application has {len(socket.received)} of {len(peer.out)} bytes"
    if (socket.closed or socket.shut) and not peer.eof:
        return "the peer has heard no FIN"
    if peer.fin and not peer.fin_acked:
        return "the peer's FIN was not acknowledged"
    if not socket.closed:
        status = world.lab.peek(socket.sock, "status")
        if peer.fin and not status & layout.NEAT_ST_RDHUP:
            return "the application has heard no FIN"
        if status & layout.NEAT_ST_ERROR or not status & layout.NEAT_ST_CONNECTED:
            return f"status {status:#x}"
    return None


def nothing_is_asked_again(world: World) -> str | None:
    """What came in the window is kept, in order or not: the peer sends again only what the wire had lost."""
    problem = streams_are_whole(world)
    peer = world.things.peers[PEER_PORT]
    assert peer.texts <= peer.chunks + len(peer.lose), f"{peer.texts} segments for {peer.chunks}"
    return problem


def reset_by_peer(world: World) -> str | None:
    socket = world.things.sockets[-1]
    if not world.lab.peek(socket.sock, "status") & layout.NEAT_ST_ERROR:
        return "the application has heard of no error"
    error = world.lab.peek(socket.sock, "error")
    assert error == ECONNRESET, error
    assert world.lab.peek(socket.sock, "error_count") == 1
    return None


def refused(world: World) -> str | None:
    socket = world.things.sockets[-1]
    if not world.lab.peek(socket.sock, "status") & layout.NEAT_ST_ERROR:
        return "the application has heard of no error"
    assert world.lab.peek(socket.sock, "error") == ECONNREFUSED
    return None


def peer_was_reset(world: World) -> str | None:
    """A RST may be lost with the crash, as on the wire: what the peer sends next draws another."""
    assert world.lab.users <= 1  # the listener
    return None if world.things.peers[PEER_PORT].state == "reset" else "the peer was not reset"


def nothing_is_left(world: World) -> str | None:
    """The connection is over on both sides, and the engine holds nothing for it."""
    problem = streams_are_whole(world)
    if problem:
        return problem
    counters = world.lab.counters()
    left = counters.get("TCP_CONNECTIONS", 0), counters.get("TCP_TIME_WAITING", 0), len(world.lab.waiting())
    return f"{left} left" if any(left) else None


def the_second_works(world: World) -> str | None:
    return "one connection" if len(world.things.sockets) < 2 else streams_are_whole(world)


def only_the_port_is_closed(world: World) -> str | None:
    peer = world.things.peers[PEER_PORT]
    assert world.lab.users == 0 and not world.lab.counters().get("TCP_CONNECTIONS")
    return None if peer.state == "reset" else "the peer was not reset"


def datagrams_came_once(world: World) -> str | None:
    """Those in: each once, in order. Those out: at most once, as a crash may lose one like the wire."""
    t = world.things
    while not world.closed and (datagram := world.lab.recv_datagram(UDP_SOCK)) is not None:
        t.datagrams_in.append(datagram[0])
    assert t.datagrams_in == [b"%d" % n * 20 for n in range(6)][: len(t.datagrams_in)]
    assert sorted(set(t.datagrams_out)) == sorted(t.datagrams_out)
    if not world.closed and len(t.datagrams_in) < 3:
        return f"{len(t.datagrams_in)} datagrams"
    return None


PASSIVE = [("listen",), ("peer opens",), ("accept",)]
# What was sent before makes both rings wrap in what is watched.
WARM = [*PASSIVE, ("peer sends", 3900), ("recv",), ("send", 3900), ("wait", 0.1)]
GONE = ("wait", 130)

STREAMS = {
    "passive open": [("watch",), *PASSIVE, ("peer sends", 100), ("send", 100)],
    "active open": [("watch",), ("connect",), ("peer sends", 100), ("send", 100)],
    "simultaneous open": [("watch",), ("connect crossing",), ("peer sends", 100), ("send", 100)],
    "deferred accept": [
        ("listen",),
        ("watch",),
        ("defer", 5),
        ("peer opens",),
        ("wait", 1),
        ("peer sends", 100),
        ("accept",),
    ],
    "deferred for too long": [
        ("listen",),
        ("defer", 2),
        ("watch",),
        ("peer opens",),
        ("wait", 3),
        ("accept",),
        ("send", 100),
    ],
    "text both ways": [*WARM, ("watch",), ("peer sends", 700), ("send", 700), ("recv",), ("peer sends", 300)],
    "text that is lost": [
        *WARM,
        ("watch",),
        ("peer deaf", True),
        ("send", 900),
        ("wait", 0.3),
        ("peer deaf", False),
        ("wait", 1),
    ],
    "a window that closes": [
        *WARM,
        ("watch",),
        ("peer sends", 4500),
        ("wait", 1),
        ("recv", 3000),
        ("wait", 1),
        ("recv",),
    ],
    "a peer's window that closes": [
        *WARM,
        ("watch",),
        ("peer space", 0),
        ("send", 500),
        ("wait", 1),
        ("peer space", 4000),
        ("wait", 1),
    ],
    "FIN that comes early": [*WARM, ("watch",), ("peer ends backwards",), ("wait", 1), ("recv",)],
    "half closed by us": [
        *WARM,
        ("watch",),
        ("send", 50),
        ("shutdown",),
        ("peer sends", 200),
        ("recv",),
        ("peer closes",),
    ],
    "half closed by the peer": [
        *WARM,
        ("watch",),
        ("peer sends", 50),
        ("peer closes",),
        ("recv",),
        ("send", 200),
        ("shutdown",),
    ],
}
HOLES = {
    "text with the handshake": [("listen",), ("watch",), ("peer opens and sends", 500), ("accept",)],
    "a hole that is filled": [*WARM, ("watch",), ("peer sends", 900, (), (0,)), ("recv",)],
    "a hole that is filled late": [*WARM, ("watch",), ("peer sends", 1500, (0,)), ("wait", 1), ("recv",)],
    "three holes": [*WARM, ("watch",), ("peer sends", 2100, (1, 3, 5)), ("wait", 1), ("recv",)],
    "holes that melt": [*WARM, ("watch",), ("peer sends", 1800, (0,), (2, 4)), ("wait", 1), ("recv",)],
}
ENDS = {
    "closed by us": [*WARM, ("watch",), ("send", 50), ("close",), ("wait", 0.1), ("peer closes",), GONE],
    "closed by the peer": [*WARM, ("watch",), ("peer closes",), ("recv",), ("send", 50), ("close",)],
    "closed by both": [
        *WARM,
        ("watch",),
        ("peer deaf", True),
        ("close",),
        ("peer closes",),
        ("peer deaf", False),
        GONE,
    ],
    "shut by both": [
        *WARM,
        ("watch",),
        ("peer deaf", True),
        ("shutdown",),
        ("peer closes",),
        ("peer deaf", False),
        ("wait", 1),
        ("close",),
        GONE,
    ],
    "closed in TIME-WAIT": [
        *WARM,
        ("watch",),
        ("shutdown",),
        ("wait", 0.1),
        ("peer closes",),
        ("wait", 0.1),
        ("close",),
        GONE,
    ],
    "FIN of both in one": [*WARM, ("watch",), ("shutdown",), ("peer ends backwards",), ("close",), GONE],
}
OTHERS = {
    "reset by the peer": (
        [*WARM, ("send", 10), ("watch",), ("peer sends", 10), ("peer resets",)],
        reset_by_peer,
    ),
    "reset by us": ([*WARM, ("watch",), ("abort",), ("peer sends", 10)], peer_was_reset),
    "reset behind text": (
        [*WARM, ("watch",), ("send", 900), ("abort",), ("wait", 0.1), ("peer sends", 10)],
        peer_was_reset,
    ),
    "refused": ([("watch",), ("connect refused",)], refused),
    "port used again": (
        [
            *WARM,
            ("close",),
            ("peer closes",),
            ("watch",),
            ("peer opens",),
            ("accept",),
            ("peer sends", 50),
            ("send", 50),
        ],
        the_second_works,
    ),
    "listener closed": (
        [("listen",), ("peer opens",), ("watch",), ("unlisten",), ("peer sends", 10)],
        only_the_port_is_closed,
    ),
    "application gone": (
        [*WARM, ("peer sends", 50), ("watch",), ("detach",), ("peer sends", 50)],
        peer_was_reset,
    ),
    "datagrams": (
        [("watch",), ("bind",), ("datagrams", 3), ("recvfrom",), ("sendto", 3), ("wait", 0.1)],
        datagrams_came_once,
    ),
    "datagrams, and the end": (
        [("bind",), ("datagrams", 3), ("watch",), ("sendto", 3), ("recvfrom",), ("unbind",)],
        datagrams_came_once,
    ),
}
ISS = {"plain": (1000, None), "wrap": (2**32 - 4300, 2**32 - 4300)}


def proves(script: list[tuple], verdict, isns: tuple = ISS["plain"], **settings) -> None:
    irs, iss = isns
    world = World(script, verdict, irs=irs, iss=iss, **settings)
    world.play()
    assert world.replay() > 30


@pytest.mark.parametrize("isns", ISS.values(), ids=ISS)
@pytest.mark.parametrize("name", STREAMS)
def test_streams(name, isns):
    proves(STREAMS[name], nothing_is_asked_again, isns)


@pytest.mark.parametrize("isns", ISS.values(), ids=ISS)
@pytest.mark.parametrize("name", HOLES)
def test_holes(name, isns):
    proves(HOLES[name], nothing_is_asked_again, isns)


@pytest.mark.parametrize("isns", ISS.values(), ids=ISS)
@pytest.mark.parametrize("name", ENDS)
def test_ends(name, isns):
    proves(ENDS[name], nothing_is_left, isns)


@pytest.mark.parametrize("name", OTHERS)
def test_others(name):
    proves(*OTHERS[name])


@pytest.mark.parametrize("name", ["passive open", "active open", "text both ways", "half closed by us"])
def test_timestamps(name):
    proves(STREAMS[name], streams_are_whole, stamps=True)


def test_segmentation_offload():
    """A burst of text is one record then."""
    script = [*WARM, ("watch",), ("send", 3500), ("wait", 0.1), ("peer sends", 300)]
    proves(script, streams_are_whole, offloads=3)
