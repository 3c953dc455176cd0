"""Connections whose replicas were killed: every call says so, and nothing that is sent vanishes."""

from collections.abc import Callable

import pytest

from tests.preload.conftest import PEER, World

pytestmark = pytest.mark.netns

WAYS = ("poll", "select", "epoll", "nothing")
CALLS = ("send", "write", "writev", "sendmsg", "sendmmsg", "sendfile", "splice")


def test_every_call_that_sends_says_that_the_connection_is_lost(
    mortal_world: World, compiled: Callable[[str], str]
) -> None:
    """As after a reset on Linux: ECONNRESET once, then EPIPE and SIGPIPE."""
    pids = [str(pid) for name, pid in mortal_world.stack.pids().items() if name.startswith("replica")]
    printed = mortal_world.run(compiled("lost.c"), PEER[0], str(PEER[1]), *pids, timeout=120)
    mortal_world.stack.wait_running()
    expected = [f"{way} {call}: ECONNRESET EPIPE 1 ENOTCONN 0" for way in WAYS for call in CALLS]
    assert printed.splitlines() == [*expected, "close: success"]
