"""Replicas of several components: each part by itself is killed under load, and what is lost is what must be.
That all else is as with whole ones: run this folder with NEAT_TEST_COMPONENTS=multi."""

import contextlib
import subprocess
import sys

import pytest

from tests.e2e.conftest import ADDRESS
from tests.e2e.test_broken_link import TX_TAIL, scribble
from tests.support import each_datapath, running_stack, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

COUNT = 60
BIG = 100 << 20
MULTI = {"components": "multi", "replicas": 2}
PARTS = ("replica0", "replica0.udp", "replica0.ip")

ECHO = """
import neat.socket as socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 7))
print("ready", flush=True)
while True:
    data, sender = sock.recvfrom(65535)
    sock.sendto(data, sender)
"""

# Each line of its input is answered when each of so many sockets has had its echo; who hears nothing asks
# again, and who hears an error says so.
ASK = """
import socket, sys
socks = []
for port in range(40000, 40032):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    sock.connect((sys.argv[1], 7))
    sock.settimeout(0.2)
    socks.append(sock)
number = 0
for line in sys.stdin:
    number += 1
    for sock in socks:
        while True:
            sock.send(b"%d" % number)
            try:
                if sock.recv(100) == b"%d" % number:
                    break
            except TimeoutError:
                pass
    print("all", flush=True)
"""

NOBODY = """
import errno, sys, neat.socket as socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.connect(("10.77.0.99", 9))
        if kind == socket.SOCK_DGRAM:
            sock.send(b"is there anybody?")
            sock.recv(1)
    except OSError as error:
        assert error.errno == errno.EHOSTUNREACH, error
    else:
        sys.exit("somebody is there")
print("unreachable", flush=True)
"""


def kill(served, name):
    old = served.stack.component(name)["pid"]
    served.stack.neat("kill", name)
    served.replaced(name, old)


@pytest.mark.parametrize("served", [MULTI], indirect=True)
def test_no_connection_is_lost_whichever_part_dies(served, tmp_path):
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        assert held.ask("round")["ok"] == COUNT
        owners = served.owners(set(held.first["ports"]))
        assert sorted(owners) == [0, 1]
        download = served.download(tmp_path / "got", 40)
        try:
            download.wait_until(BIG // 4)
            for name in (*PARTS, "driver", "syscall", "replica1.ip"):
                kill(served, name)
                assert held.ask("round")["ok"] == COUNT
            assert download.finish()[0] == served.hashes["/big.bin"]
        finally:
            download.close()
        assert served.owners(set(held.first["ports"])) == owners


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGSTOP"])
@pytest.mark.parametrize("served", [MULTI], indirect=True)
def test_an_ip_part_that_crashes_or_hangs_is_replaced(served, signal):
    """By its own doing: what it was at is not tried again. A hang is found by its heartbeat."""
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        assert held.ask("round")["ok"] == COUNT
        old = served.stack.component("replica0.ip")["pid"]
        served.stack.neat("kill", "replica0.ip", "--signal", signal)
        served.replaced("replica0.ip", old)
        assert held.ask("round")["ok"] == COUNT
    assert served.answers()


@pytest.mark.parametrize("served", [MULTI], indirect=True)
def test_all_of_them_are_adopted_and_restarted(served):
    """A supervisor that was killed finds every part; a rolling restart replaces each."""
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        before = served.stack.pids()
        served.stack.neat("kill", "supervisor")
        served.replaced("supervisor", before["supervisor"])
        served.stack.wait_running()
        after = served.stack.pids()
        assert {name for name in before if before[name] != after[name]} == {"supervisor"}
        served.stack.neat("restart", "--rolling", timeout=120)
        assert set(before.values()).isdisjoint(served.stack.pids().values())
        assert held.ask("round")["ok"] == COUNT


@pytest.mark.parametrize("served", [{"components": "multi", "replicas": 1}], indirect=True)
def test_they_come_and_go_whole(served):
    """All parts of a replica start with it, and end with its last connection."""

    def replicas():
        return {name.partition(".")[0] for name in served.stack.pids() if name.startswith("replica")}

    assert served.stack.neat("scale", "9", check=False).returncode
    served.stack.neat("scale", "3")
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        assert sorted(served.owners(set(held.first["ports"]))) == [0, 1, 2]
        served.stack.neat("scale", "1")
        for name in ("replica1.ip", "replica2.udp"):
            kill(served, name)
        assert held.ask("round")["ok"] == COUNT
    wait_for(lambda: len(served.stack.pids()) == 6, 60, "nothing of the others is left")
    assert replicas() == {"replica0"}
    served.stack.neat("scale", "2")
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        assert sorted(served.owners(set(held.first["ports"]))) == [0, 1]


@pytest.mark.parametrize("served", [MULTI | {"recovery": "stateless"}], indirect=True)
def test_stateless_only_tcp_has_something_to_lose(served):
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        owners = served.owners(set(held.first["ports"]))
        for name in ("replica0.udp", "replica0.ip", "replica1.ip"):
            kill(served, name)
            assert held.ask("round")["ok"] == COUNT
        kill(served, "replica0")
        report = held.ask("round")
        assert {int(port) for port in report["lost"]} == owners[0]
        assert (report["failed"], report["ok"]) == ({}, COUNT - len(owners[0]))
    assert served.answers()


def test_datagrams_come_back_whichever_part_dies(datapath, python_on_stack):
    """A datagram may be lost, as on any wire; no socket ever hears of an error, at either end."""
    with running_stack(datapath=datapath, **MULTI) as stack:
        server = python_on_stack(stack, ECHO)
        pipe = subprocess.PIPE
        with stack.popen_peer(
            sys.executable, "-c", ASK, ADDRESS, stdin=pipe, stdout=pipe, text=True
        ) as client:

            def ask():
                client.stdin.write("\n")
                client.stdin.flush()
                assert client.stdout.readline() == "all\n"

            ask()
            for name in PARTS:
                old = stack.component(name)["pid"]
                stack.neat("kill", name)
                ask()
                wait_for(lambda n=name, o=old: stack.component(n)["pid"] not in (None, o), 10, "a successor")
                ask()
            client.stdin.close()
            assert client.wait(30) == 0
        assert server.poll() is None
        stack.wait_running()
        stack.peer("ping", "-c1", "-W5", ADDRESS)
        parts = {p["name"]: p["counters"] for r in stack.status()["replicas"] for p in r["parts"]}
        assert parts["replica1.udp"]["udp_in"] > 0 and parts["replica1"]["udp_in"] == 0
        assert parts["replica1.ip"]["udp_in"] == 0 < parts["replica1.ip"]["ip_handed_up"]


@pytest.mark.parametrize("served", [{"components": ["single", "multi"], "replicas": 3}], indirect=True)
def test_a_mixed_stack(served):
    names = [part["name"] for part in served.stack.status()["components"]]
    assert names[3:] == ["replica0", *(f"replica{k}{part}" for k in (1, 2) for part in ("", ".udp", ".ip"))]
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        assert sorted(served.owners(set(held.first["ports"]))) == [0, 1, 2]
        for name in ("replica0", "replica1", "replica1.ip"):
            kill(served, name)
            assert held.ask("round")["ok"] == COUNT


def test_what_is_seen_of_it(datapath, python_on_stack):
    with running_stack(datapath=datapath, **MULTI) as stack:
        python_on_stack(stack, ECHO)
        text = stack.neat("status").stdout
        for part in (*PARTS, "replica1.ip"):
            assert part in text
        rows = [(row["protocol"], row["replica"]) for row in stack.sockets()]
        assert sorted(rows) == [("udp", 0), ("udp", 1)]
        status = stack.status()
        assert [(part["part"], part["replica"]) for part in status["components"][3:6]] == [
            ("tcp", 0),
            ("udp", 0),
            ("ip", 0),
        ]
        assert stack.neat("kill", "replica7.ip", check=False).returncode


def test_who_is_not_there_is_said(datapath, python_on_stack):
    """Only IP knows; TCP and UDP hear of it."""
    with running_stack(datapath=datapath, components="multi", replicas=1) as stack:
        done = subprocess.run(
            [sys.executable, "-c", NOBODY],
            env=stack.env | {"NEAT_STACK": stack.name},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("unreachable\n", "")


@pytest.mark.parametrize("part", ["tcp", "udp"])
@pytest.mark.parametrize("served", [MULTI], indirect=True)
def test_a_part_that_breaks_its_ring_is_replaced(served, part):
    """The IP part has found it out, and goes on with a fresh link; the other part's link is as it was."""
    name = "replica1" if part == "tcp" else "replica1.udp"
    before = served.stack.pids()
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        owners = served.owners(set(held.first["ports"]))

        def seen():
            with contextlib.suppress(OSError):
                scribble(before[name], TX_TAIL, 0xFFFF_FFFF_FFFF_FFF0)
            return any("broke its link" in event["detail"] for event in served.stack.status()["events"])

        wait_for(seen, 60, "the IP part has seen it")
        served.replaced(name, before[name])
        served.replaced("replica1.ip", before["replica1.ip"])
        report = held.ask("round")
        assert {int(port) for port in report["lost"]} == (owners[1] if part == "tcp" else set())
    changed = {other for other, pid in served.stack.pids().items() if before[other] != pid}
    assert changed == {name, "replica1.ip"}
    assert served.answers()
