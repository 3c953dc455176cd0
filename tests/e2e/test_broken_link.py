"""A replica that writes nonsense into its rings is found out by the driver and replaced by the supervisor."""

import contextlib
import mmap
import os
import struct
from pathlib import Path

import pytest

from neat.config import Config
from neat.shm.link import link_bytes
from tests.support import each_datapath, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

RING_BYTES = Config().ring_bytes
RING_HEADER = 256
TX_TAIL = 4096 + RING_HEADER + RING_BYTES


def scribble(pid: int, offset: int, value: int) -> None:
    """Write a word into the link segment that process `pid` has mapped."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if ":link" in os.readlink(fd):
            break
    with open(fd, "r+b") as segment, mmap.mmap(segment.fileno(), link_bytes(RING_BYTES, RING_BYTES)) as link:
        link[offset : offset + 8] = struct.pack("<Q", value)


def not_of_replica1(served) -> dict[str, int]:
    """Components that are neither that replica nor parts of it."""
    return {name: pid for name, pid in served.stack.pids().items() if name.partition(".")[0] != "replica1"}


def test_a_replica_that_breaks_its_ring_is_replaced(served):
    old = served.stack.component("replica1")["pid"]
    others = not_of_replica1(served)
    with served.client("hold", "--count=60") as held:
        owners = served.owners(set(held.first["ports"]))

        def seen():
            # What the replica publishes next, such as a late ACK, mends it if the driver has not looked yet.
            with contextlib.suppress(OSError):
                scribble(old, TX_TAIL, 0xFFFF_FFFF_FFFF_FFF0)
            return any("broke its link" in event["detail"] for event in served.stack.status()["events"])

        wait_for(seen, 60, "the driver has seen it")
        served.replaced("replica1", old)
        report = held.ask("round")
        assert {int(port) for port in report["lost"]} == owners[1]
    assert not_of_replica1(served) == others
    assert any("broke its link" in event["detail"] for event in served.stack.status()["events"])

    def served_again():
        with served.client("hold", "--count=30") as held:
            return 1 in served.owners(set(held.first["ports"]))

    wait_for(served_again, 10, "connections on the new replica")
