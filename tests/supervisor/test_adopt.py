"""Which of what runs a new supervisor takes over; the rest is in test_life.py and test_stateful.py."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from neat import rundir
from neat.supervisor import process
from neat.supervisor.adopt import _hung_up
from neat.supervisor.recovery import orphans


@pytest.fixture
def pair():
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, peer:
        yield ours, peer


def test_ctl_of_who_runs_is_no_reason_to_end_it(pair):
    ours, peer = pair
    peer.send(b'{"event": "ready"}')
    assert not _hung_up(ours.fileno())


def test_ctl_of_the_incarnation_before_is(pair):
    """Our predecessor was killed between the exec of a component and the put of its ctl."""
    ours, peer = pair
    peer.send(b"the last word")
    peer.close()
    assert _hung_up(ours.fileno())


@pytest.fixture
def children(monkeypatch):
    """Two processes, as if we were one of their siblings."""
    monkeypatch.setattr("os.getppid", os.getpid)
    monkeypatch.setattr("os.getpid", lambda: 0)
    found = [subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) for _ in range(2)]
    yield found
    for child in found:
        child.kill()
        child.wait()


def test_holders_are_known_by_pid_and_ticks_and_others_are_ended(children):
    holder, other = children
    ticks = rundir.start_ticks(holder.pid)
    assert other.pid in orphans({(holder.pid, ticks)})
    assert holder.pid not in orphans({(holder.pid, ticks)})
    assert holder.pid in orphans({(holder.pid, ticks + 1)})  # the pid came again
    process.end({other.pid})
    assert other.poll() == -signal.SIGKILL
