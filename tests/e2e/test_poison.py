"""A packet that kills does so three times at most; then it is known, kept, and kept out."""

import contextlib
import json
import subprocess
import sys

import pytest
from scapy.layers.inet import TCP
from scapy.utils import rdpcap

from neat.config import ConfigError, build
from tests.e2e.conftest import serve
from tests.e2e.test_hostile import mac_of
from tests.support import each_datapath, wait_for

pytestmark = [pytest.mark.netns, each_datapath]
PATIENCE_S = 60
ABORT, SPIN = 1, 2
COUNT = 60


def stateful():
    try:
        build({"recovery": "stateful"})
    except ConfigError:
        return False
    return True


@pytest.fixture
def opened(site, datapath):
    """A stack whose door for poison is open, with its server."""
    with serve(*site, replicas=3, poison=True, recovery="stateless", datapath=datapath) as served:
        yield served


class Sender:
    """Whoever sends poison, a segment at a time."""

    def __init__(self, served, deed):
        device, mac = served.stack.status()["tap"], mac_of(served)
        mac = ":".join(mac[i : i + 2] for i in range(0, 12, 2))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", "tests.e2e.poison", device, mac, str(deed)]
        self.served = served
        self.process = served.stack.popen_peer(*command, **pipes)

    def send(self, port):
        self.process.stdin.write(f"{port}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "sent\n"

    def kills_three_times(self, ports):
        """And what he sends then is dropped."""
        for number, port in enumerate(ports[:3], 1):
            self.send(port)
            wait_for(lambda n=number: kills(self.served) == n, PATIENCE_S, f"{number} kills")
        for port in ports[3:]:
            self.send(port)
        wait_for(lambda: dropped(self.served) >= len(ports) - 3, PATIENCE_S, "it is dropped")
        assert kills(self.served) == 3


@contextlib.contextmanager
def poison_for(served, deed):
    sender = Sender(served, deed)
    try:
        yield sender
    finally:
        sender.process.kill()
        sender.process.communicate()


def dropped(served):
    return served.stack.status()["driver"]["counters"]["drop_quarantine"]


def kills(served):
    """Once everything runs again."""
    return sum(component["restarts"] for component in served.stack.wait_running(PATIENCE_S)["components"])


def reports(served):
    return json.loads(served.stack.neat("crashes", "-j").stdout)["crashes"]


def test_the_door_is_shut_unless_its_owner_opens_it(served):
    before = served.stack.pids()
    with poison_for(served, ABORT) as sender:
        for port in range(4000, 4010):
            sender.send(port)
        assert served.answers()
    assert served.stack.pids() == before


@pytest.mark.parametrize(("deed", "what"), [(ABORT, "died"), (SPIN, "hung")])
def test_a_packet_that_kills(opened, deed, what):
    with poison_for(opened, deed) as sender:
        sender.kills_three_times([4000] * 6)
    found = wait_for(lambda: (r := reports(opened)) and len(r) == 3 and r, PATIENCE_S, "reports")
    for report in found:
        assert report["what"] == what and report["suspect"]["kind"] == "frame"
        assert report["signal"] == ("SIGABRT" if deed == ABORT else None)
        assert bool(report["backtrace"]) == (deed == ABORT)
        (packet,) = rdpcap(report["pcap"])
        assert (253, b"NEaT" + bytes([deed])) in packet[TCP].options
    assert any(event["what"] == "quarantine" for event in opened.stack.status()["events"])
    assert opened.answers()


def test_one_flow_after_another(opened):
    """The third is the last of its source: no flow that is not live already gets through."""
    with poison_for(opened, ABORT) as sender:
        sender.kills_three_times(list(range(4000, 4006)))


@pytest.mark.skipif(not stateful(), reason="this stack loses connections with their replica")
def test_no_other_connection_is_lost(site, datapath):
    """And the one whose segments kill is reset."""
    with (
        serve(*site, replicas=3, poison=True, recovery="stateful", datapath=datapath) as served,
        served.client("hold", f"--count={COUNT}") as held,
    ):
        assert held.ask("round")["ok"] == COUNT
        poisoned = held.first["ports"][0]
        with poison_for(served, ABORT) as sender:
            sender.kills_three_times([poisoned] * 6)
        report = held.ask("round")
        assert {int(port) for port in report["lost"]} == {poisoned}
        assert (report["failed"], report["ok"]) == ({}, COUNT - 1)
        assert all(found["pcap"] for found in reports(served))
