"""Hostile frames on the wire, an application that writes nonsense into its channel: nobody else notices."""

import mmap
import os
import random
import sys

import pytest

from neat.tools.bench.processes import end, start_server
from neat.tools.bench.servers import httpd
from neat.tools.driven import Client
from tests.e2e.conftest import ADDRESS
from tests.support import each_datapath, wait_for

pytestmark = pytest.mark.netns

FRAMES = 100_000
SCRIBBLES = 3000


def components(served):
    """Name and pid of everything that must not crash."""
    return {c["name"]: (c["pid"], c["restarts"]) for c in served.stack.status()["components"]}


def mac_of(served):
    """The stack's address on the wire, as the kernel has learnt it."""
    served.stack.peer("ping", "-c", "1", "-W", "2", ADDRESS)
    fields = served.stack.peer("ip", "neighbour", "show", ADDRESS).stdout.split()
    return fields[fields.index("lladdr") + 1].replace(":", "")


@each_datapath
def test_hostile_frames_crash_nothing(served):
    """A connection that was there before goes on, new ones work, and what was refused is counted."""
    before = components(served)
    device = served.stack.status()["tap"]
    with served.client("hold", "--count=30") as held:
        assert held.ask("round")["ok"] == 30
        seed = random.randrange(1 << 30)
        command = [sys.executable, "-m", "tests.e2e.frames", device, str(FRAMES), str(seed), mac_of(served)]
        sent = int(served.stack.peer(*command, timeout=100).stdout)
        print(f"{sent} frames with seed {seed}")
        assert sent > FRAMES * 0.9
        assert components(served) == before, f"seed {seed}"
        report = held.ask("round")
        assert (report["ok"], report["lost"], report["failed"]) == (30, {}, {}), f"seed {seed}"
    assert served.answers()
    drops = [replica["drops"] for replica in served.stack.status()["replicas"]]
    assert sum(sum(reasons.values()) for reasons in drops) > FRAMES // 10


def channels(pid):
    """Writable mappings of the segments that this process shares with the replicas."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        if os.readlink(path).startswith("/memfd:"):
            fd = os.open(path, os.O_RDWR)
            try:
                found.append(mmap.mmap(fd, os.fstat(fd).st_size))
            except (OSError, ValueError):
                continue  # a segment that this process may only read
            finally:
                os.close(fd)
    return found


def mapped_segments(pid):
    """The same for segments whose descriptor the process has closed, by way of its mappings."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/map_files"):
        path = f"/proc/{pid}/map_files/{name}"
        if os.readlink(path).startswith("/memfd:") and (inode := os.stat(path).st_ino) not in found:
            fd = os.open(path, os.O_RDWR)
            found[inode] = mmap.mmap(fd, os.fstat(fd).st_size)
            os.close(fd)
    return list(found.values())


def test_nonsense_in_a_channel_crashes_nothing(served):
    """Random bytes in every index and request of one application: the replicas and the other one go on."""
    before = components(served)
    victim = start_server(httpd(served.root, "--port", "8080"), served.stack.env)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    options = ["hold", ADDRESS, "--port=8080", "--count=40", "--seconds=60"]
    try:
        with (
            served.client("hold", "--count=60") as held,
            Client(served.peer, served.stack.env, *options) as doomed,
        ):
            assert doomed.ask("round")["ok"] == 40
            segments = mapped_segments(victim.pid) or channels(victim.pid)
            assert segments
            for _ in range(10):
                for segment in segments:
                    for _ in range(SCRIBBLES // 10):
                        scribble(chance, segment)
                assert held.ask("round")["ok"] == 60, f"seed {seed}"
            assert components(served) == before, f"seed {seed}"
            victim.kill()
            assert doomed.ask("round")["ok"] == 0
            assert held.ask("round")["ok"] == 60
        for segment in segments:
            segment.close()
        wait_for(lambda: not served.sockets(8080), 30, "no socket of the dead application")
    finally:
        end(victim)
    assert components(served) == before, f"seed {seed}"
    assert served.answers()


def scribble(chance, segment):
    """A few random bytes, or a nasty number, in the first pages: that is where the indexes are."""
    at = chance.randrange(0, min(len(segment), 1 << 20) - 8) & ~3
    value = chance.choice(
        (b"\0" * 8, b"\xff" * 8, b"\x01\0\0\0\0\0\0\0", chance.randbytes(8), chance.randbytes(4))
    )
    segment[at : at + len(value)] = value
