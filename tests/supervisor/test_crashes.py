"""Crash reports: what is noted of a death, and the files that stay."""

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap

from neat.config import build
from neat.shm import link, segment, steering
from neat.shm.board import BOARD_BYTES, BoardReader, BoardWriter
from neat.shm.pyring import FLOW_LOST, FRAME, OWN_FRAME
from neat.stack.lab import Lab
from neat.stack.postmortem import connection_of, suspect_of
from neat.supervisor import reports
from neat.supervisor.component import Component
from neat.supervisor.crashes import Crashes
from neat.supervisor.quarantine import Quarantine

RING = 1 << 18
FRAME_BYTES = bytes(Ether() / IP(src="10.77.0.1", dst="10.77.0.2") / TCP(sport=4000, dport=80) / b"poison")
POISON = bytes(10) + FRAME_BYTES
SUSPECT_AT = 256
KINDS = {"frame": 1, "command": 2, "timer": 3, "transmit": 4}


class Log:
    def __init__(self):
        self.said = []

    def record(self, component, what, detail=""):
        self.said.append((component, what, detail))


class Scene:
    """What is left of replica 0, made by hand: a state segment, a ring."""

    def __init__(self, directory, monkeypatch):
        monkeypatch.setenv("NEAT_LOG_DIR", str(directory))
        self.directory = directory
        self.config = build({"ring_bytes": RING, "replicas": 1})
        board = segment.create("board", BOARD_BYTES)
        self.page = BoardWriter(board, "replica0")
        self.page.announce(4)
        steer = segment.create("steering", steering.steering_bytes(1024))
        steering.initialise(steer, 1024)
        self.steering = steering.Steering(steer, 1024, writable=True)
        lab = Lab()
        self.state = segment.create("state0", len(lab.state))
        os.pwrite(self.state, lab.state[:], 0)
        self.link = segment.create("link0", link.link_bytes(RING, RING))
        link.initialise(self.link, RING, RING)
        self.ring = link.Link(self.link, RING, RING).rx_ring(producer=True)
        self.log = Log()
        fds = {"state0": self.state, "link0": self.link}
        quarantine = Quarantine(self.steering, "10.77.0.2")
        self.crashes = Crashes(self.config, BoardReader(board), fds, self.log, quarantine)
        self.component = Component("replica0", "replica", "", slot=0, incarnation=4, pid=4711)

    def suspect(self, kind, position=0, length=0, conn=0xFFFFFFFF):
        text = length.to_bytes(4, "little") + position.to_bytes(8, "little") + bytes(8)
        text = KINDS[kind].to_bytes(4, "little") + text + conn.to_bytes(4, "little")
        os.pwrite(self.state, text, SUSPECT_AT)

    def push(self, record=POISON, kind=FRAME):
        """The record's position."""
        position = self.ring.counters[2]
        assert self.ring.push(record, kind)
        self.ring.publish()
        return position

    def died(self, status=-signal.SIGSEGV):
        """The report of its death."""
        self.crashes.note(self.component, status)
        self.crashes.write()
        found = reports.numbers(self.directory)
        return reports.read(self.directory, found[-1]) if found else None


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return Scene(tmp_path / "kept", monkeypatch)


def test_a_packet_that_killed_is_in_a_capture_file(scene):
    scene.push(bytes(10) + bytes(Ether() / b"before"))
    scene.suspect("frame", scene.push(), len(POISON))
    scene.push(bytes(10) + bytes(Ether() / b"behind"))
    report = scene.died()
    assert (report["number"], report["component"]) == (1, "replica0")
    assert (report["incarnation"], report["pid"]) == (4, 4711)
    assert (report["what"], report["reason"]) == ("died", "crashed with SIGSEGV")
    assert report["suspect"]["kind"] == "frame" and report["suspect"]["connection"] is None
    (packet,) = rdpcap(report["pcap"])
    assert bytes(packet) == FRAME_BYTES
    assert packet[TCP].sport == 4000
    assert os.stat(report["pcap"]).st_mode & 0o777 == 0o600


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_reads_it(scene):
    scene.suspect("frame", scene.push(), len(POISON))
    report = scene.died()
    done = subprocess.run(["tcpdump", "-nr", report["pcap"]], capture_output=True, text=True, check=True)
    assert "10.77.0.1.4000 > 10.77.0.2.80" in done.stdout


def test_wherever_the_ring_has_it(scene):
    """Round the ring, and over its end, where a PAD is."""
    consumer = link.Link(scene.link, RING, RING).rx_ring(producer=False)
    large = bytes(10) + bytes(Ether() / IP() / TCP() / bytes(40_000))
    for _ in range(30):
        position = scene.push(large)
        record = consumer.pop()
        consumer_at = consumer.counters[2] - ((len(large) + 16 + 63) & ~63)
        scene.suspect("frame", consumer_at, len(large))
        assert record[2] == large and consumer_at >= position
        assert scene.died()["pcap"]
        consumer.release()


@pytest.mark.parametrize(
    "what",
    ["of another length", "not aligned", "released", "ahead", "no frame", "impossible", "wild counters"],
)
def test_nothing_but_the_record_itself(scene, what):
    position, length = scene.push(), len(POISON)
    if what == "of another length":
        length += 1
    elif what == "not aligned":
        position += 8
    elif what == "released":
        consumer = link.Link(scene.link, RING, RING).rx_ring(producer=False)
        consumer.pop()
        consumer.release()
    elif what == "ahead":
        position += 1 << 20
    elif what == "no frame":
        position = scene.push(POISON, FLOW_LOST)
    elif what == "impossible":
        os.pwrite(scene.link, (1 << 31).to_bytes(4, "little"), 4096 + 256 + position)
    else:
        os.pwrite(scene.link, (1 << 40).to_bytes(8, "little"), 4096)
    scene.suspect("frame", position, length)
    report = scene.died()
    assert report["suspect"]["kind"] == "frame" and report["pcap"] is None


def test_own_frames_too(scene):
    scene.suspect("frame", scene.push(POISON, OWN_FRAME), len(POISON))
    assert scene.died()["pcap"]


def test_a_connection_that_was_in_its_hands(scene):
    lab = Lab()
    index = lab.connect("10.77.0.1", 4000, local_port=80)
    os.pwrite(scene.state, lab.state[:], 0)
    scene.suspect("timer", conn=index)
    found = scene.died()["suspect"]["connection"]
    assert found == {"state": "SYN_SENT", "local": "10.77.0.2:80", "remote": "10.77.0.1:4000", "strikes": 0}


def test_the_flight_recorder(scene):
    mapped = link.Link(scene.link, RING, RING)
    at = mapped.recorder_address - mapped.segment.address
    now = time.monotonic_ns()
    held = POISON[24:72]
    entry = (struct.pack("<QIHH", now, len(POISON), 1, len(held)) + held).ljust(64, b"\0")
    mapped.segment.view[at + 64 : at + 128] = entry
    mapped.segment.view[at : at + 8] = (1).to_bytes(8, "little")
    (line,) = scene.died()["recent"]
    assert line.startswith("-") and "in 10.77.0.1:4000 > 10.77.0.2:80 tcp S" in line


def test_nothing_in_its_hands(scene):
    report = scene.died(status=3)
    assert report["suspect"] is None and report["reason"] == "exited with status 3"


def test_a_hang(scene):
    scene.component.kill_reason = "spinning without a heartbeat"
    scene.suspect("frame", scene.push(), len(POISON))
    report = scene.died(-signal.SIGKILL)
    assert (report["what"], report["reason"]) == ("hung", "spinning without a heartbeat")
    assert report["pcap"]


def test_last_words(scene):
    code = """
import ctypes, resource, sys
from neat.shm.lastwords import prepare_last_words
from neat.shm.board import BoardWriter
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
board = BoardWriter(int(sys.argv[1]), "replica0")
board.announce(4)
prepare_last_words(board)
ctypes.string_at(0x18)
"""
    board = segment.create("board", BOARD_BYTES)
    scene.crashes.board = BoardReader(board)
    done = subprocess.run([sys.executable, "-c", code, str(board)], pass_fds=[board], timeout=60, check=False)
    report = scene.died(done.returncode)
    assert (report["signal"], report["address"]) == ("SIGSEGV", 0x18)
    assert any("libc" in frame for frame in report["backtrace"])
    scene.component.incarnation = 5
    assert scene.died(done.returncode)["signal"] is None, "those of another process"


def test_who_is_killed_from_outside_is_not_asked_unless_a_replica(scene):
    """Nobody is to blame, and no quarantine follows."""
    scene.suspect("frame", scene.push(), len(POISON))
    for _ in range(5):
        assert scene.died(-signal.SIGKILL)["what"] == "killed"
    assert scene.log.said == []
    scene.component = Component("driver", "driver", "", incarnation=4, pid=1)
    assert len(reports.numbers(scene.directory)) == 5
    scene.died(-signal.SIGKILL)
    assert len(reports.numbers(scene.directory)) == 5


def test_what_is_in_the_hands_of_one_that_serves_nobody_is_innocent(scene):
    scene.component.kill_reason, scene.component.kill_own = "nobody is served", False
    for _ in range(5):
        scene.suspect("frame", scene.push(), len(POISON))
        assert scene.died(-signal.SIGKILL)["what"] == "hung"
    assert scene.log.said == []


def test_who_kills_again_and_again_is_kept_out_and_that_is_said(scene):
    for _ in range(3):
        scene.suspect("frame", scene.push(), len(POISON))
        scene.died()
    ((component, what, detail),) = scene.log.said
    assert (component, what) == ("replica0", "quarantine") and "10.77.0.1:4000" in detail


def test_any_bytes_in_the_state(scene):
    chance = random.Random(2)
    for _ in range(200):
        os.pwrite(scene.state, chance.randbytes(512), 0 if chance.random() < 0.2 else SUSPECT_AT)
        scene.crashes.note(scene.component, -11)
        scene.crashes.pending.clear()
    assert suspect_of(b"") is None and connection_of(bytes(3)) is None


def test_they_are_bounded(scene):
    scene.suspect("frame", scene.push(), len(POISON))
    for _ in range(reports.MOST_REPORTS + 10):
        scene.died()
    assert reports.numbers(scene.directory) == list(range(11, reports.MOST_REPORTS + 11))
    assert len(os.listdir(scene.directory)) == 2 * reports.MOST_REPORTS


def test_a_directory_that_cannot_be_is_said(scene, capsys):
    scene.directory.parent.mkdir(exist_ok=True)
    scene.directory.write_text("a file")
    assert scene.died() is None
    assert "no crash report" in capsys.readouterr().err


def test_what_is_no_report_is_passed_over(scene):
    scene.died()
    for name, text in (
        ("crash-2.json", "[]"),
        ("crash-3.json", "{"),
        ("crash-x.json", "{}"),
        ("a.json", "{}"),
    ):
        (scene.directory / name).write_text(text)
    found = [reports.read(scene.directory, number) for number in reports.numbers(scene.directory)]
    assert [report is not None for report in found] == [True, False, False]
