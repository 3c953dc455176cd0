"""No wake-up is lost, in any interleaving; and each step of the protocol is needed: without it one is."""

from functools import partial

import pytest

from tests.model.explorer import Explorer, Stuck
from tests.model.readiness import RING, Protocol

UNLOCKED = {"rx_lock": 1}


def scene(memory=None, may_block=("replica",), **parties):
    """Programs by name, each with its arguments, and the memory before."""
    programs = {name: partial(*party) for name, party in parties.items()}
    return Explorer(may_block, **programs), memory or {}


def in_memory(p):
    """A poller comes, waits for two bytes, and goes."""
    return scene(replica=(p.replica, 2), poller=(p.poller, 2))


def on_the_descriptor(p):
    """A thread receives two bytes, one at a time, and sleeps for each."""
    return scene(UNLOCKED, replica=(p.replica, 2), a=(p.receiver, 2))


def side_by_side(p):
    """Two threads receive one byte each."""
    return scene(UNLOCKED, replica=(p.replica, 2), a=(p.receiver, 1), b=(p.receiver, 1))


def both_ways(p):
    """A poller, and a thread that receives what it is told of."""
    return scene(UNLOCKED, replica=(p.replica, 1), a=(p.receiver, 1), poller=(p.poller, 1))


def unseen(p):
    """The descriptor goes into the kernel's epoll while a byte comes."""
    return scene(replica=(p.replica, 1), kernel=(p.kernel,))


def unseen_end(p):
    """While the stream ends."""
    return scene(replica=(p.replica, 0, True), kernel=(p.kernel,))


def room_on_the_descriptor(p):
    """A sender whose bytes do not fit sleeps until some are acknowledged."""
    return scene(replica=(p.acknowledged, RING + 1), a=(p.sender, 0, RING + 1))


def room_in_memory(p):
    """A poller waits for room in a full ring."""
    return scene({"tx_tail": RING}, replica=(p.acknowledged, 1), poller=(p.poller_of_room,))


def commands(p):
    """The replica sleeps while an application has something for it."""
    return scene(may_block=(), replica=(p.served, 0, 2), app=(p.mark, 2))


SCENES = [
    in_memory,
    on_the_descriptor,
    side_by_side,
    both_ways,
    unseen,
    unseen_end,
    room_on_the_descriptor,
    room_in_memory,
    commands,
]

# --- the replica is killed between any two steps, and a successor repairs


def killed(p, text=0, ends=False, memory=None, **parties):
    rest = (p.rest_of_text, (text, ends))
    return scene(memory, replica=(p.killable, rest, p.replica, text, ends), killer=(p.killer,), **parties)


def killed_with_room(p, count, memory=None, **parties):
    rest = (p.rest_of_room, (count,))
    return scene(memory, replica=(p.killable, rest, p.acknowledged, count), killer=(p.killer,), **parties)


def killed_in_memory(p):
    return killed(p, 2, poller=(p.poller, 2))


def killed_on_the_descriptor(p):
    return killed(p, 2, memory=UNLOCKED, a=(p.receiver, 2))


def killed_unseen(p):
    return killed(p, 1, kernel=(p.kernel,))


def killed_unseen_end(p):
    return killed(p, 0, True, kernel=(p.kernel,))


def killed_room_on_the_descriptor(p):
    return killed_with_room(p, RING + 1, a=(p.sender, 0, RING + 1))


def killed_room_in_memory(p):
    return killed_with_room(p, 1, {"tx_tail": RING}, poller=(p.poller_of_room,))


KILLED = [
    killed_in_memory,
    killed_on_the_descriptor,
    killed_unseen,
    killed_unseen_end,
    killed_room_on_the_descriptor,
    killed_room_in_memory,
]

# What is lost when a step is left out: (the step, where it shows).
NEEDED = [
    ("changes before waiters", in_memory),
    ("changes before waiters", on_the_descriptor),
    ("join before the look", in_memory),
    ("bit before summary", in_memory),
    ("asleep before the last look", in_memory),
    ("count before the look", on_the_descriptor),
    ("show again what is left", side_by_side),
    ("show what came before", unseen),
    ("show what came before", unseen_end),
    ("room before out_block", room_in_memory),
    ("look after the fill", room_on_the_descriptor),
    ("look after asking for room", room_in_memory),
    ("dirty before summary", commands),
    ("sleeping before the last look", commands),
    ("send the token again", killed_on_the_descriptor),
    ("fills are said again", killed_room_on_the_descriptor),
    ("ring every bell", killed_in_memory),
    ("summary again", killed_in_memory),
    ("events again", killed_in_memory),
]


@pytest.mark.parametrize("of", SCENES + KILLED)
def test_no_wake_up_is_lost(of):
    explorer, memory = of(Protocol())
    assert explorer.explore(memory) > 50


@pytest.mark.parametrize(("step", "of"), NEEDED)
def test_without_it_one_is(step, of):
    explorer, memory = of(Protocol(step))
    with pytest.raises(Stuck, match="waits for ever") as stuck:
        explorer.explore(memory)
    print(stuck.value)  # the way there: pytest -s
