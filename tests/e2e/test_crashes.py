"""Components are killed and stopped under traffic: what is lost is what must be, and no more."""

import os

import pytest

from neat.tools.bench.processes import end, start_server
from neat.tools.bench.servers import httpd
from neat.tools.driven import Client
from tests.e2e.conftest import ADDRESS
from tests.support import each_datapath, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

COUNT = 120
BIG = 100 << 20


@pytest.mark.parametrize("served", [{"recovery": "stateless"}], indirect=True)
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSEGV", "SIGSTOP"])
def test_only_the_connections_of_a_dead_replica_are_lost(served, signal):
    """The paper's recovery."""
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        owners = strike(served, held, signal)
        report = held.ask("round")
        assert {int(port) for port in report["lost"]} == owners[1]
        assert (report["failed"], report["ok"]) == ({}, COUNT - len(owners[1]))


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSEGV", "SIGSTOP"])
def test_no_connection_of_a_dead_replica_is_lost(served, signal):
    with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        before = strike(served, held, signal)
        assert held.ask("round")["ok"] == COUNT
        assert served.owners(set(held.first["ports"])) == before


def strike(served, held, signal):
    """Have replica1 replaced; which ports each replica had."""
    ports = set(held.first["ports"])
    assert held.ask("round")["ok"] == COUNT
    owners = served.owners(ports)
    assert sum(map(len, owners.values())) == COUNT
    old = served.stack.component("replica1")["pid"]
    served.stack.neat("kill", "replica1", "--signal", signal)
    served.replaced("replica1", old)
    return owners


def test_listening_sockets_work_on_a_new_replica(served):
    """The application does nothing for it: connections reach the successor, too."""
    for name in ("replica0", "replica1", "replica2"):
        old = served.stack.component(name)["pid"]
        served.stack.neat("kill", name)
        served.replaced(name, old)
    with served.client("hold", f"--count={COUNT}") as held:
        assert held.ask("round")["ok"] == COUNT
        assert sorted(served.owners(set(held.first["ports"]))) == [0, 1, 2]


@pytest.mark.parametrize("component", ["driver", "syscall", "supervisor"])
def test_a_download_survives(served, tmp_path, component):
    with served.client("hold", f"--count={COUNT}") as held:
        download = served.download(tmp_path / "got", 40)
        try:
            download.wait_until(BIG // 4)
            old = served.stack.component(component)["pid"]
            served.stack.neat("kill", component)
            assert download.running
            served.replaced(component, old)
            assert download.finish()[0] == served.hashes["/big.bin"]
        finally:
            download.close()
        assert held.ask("round")["ok"] == COUNT
    assert served.answers()


def test_a_dead_application_leaves_nothing_open(served):
    """SIGKILL to a server with connections: its clients are told, and no replica has a socket of it."""
    other = start_server(httpd(served.root, "--port", "8080"), served.stack.env)
    try:
        with Client(
            served.peer, served.stack.env, "hold", ADDRESS, "--port=8080", f"--count={COUNT}"
        ) as held:
            assert held.ask("round")["ok"] == COUNT
            other.kill()
            other.wait()
            report = held.ask("round")
            assert (report["ok"], len(report["lost"])) == (0, COUNT)
            wait_for(lambda: not served.sockets(8080), 10, "no socket of the dead server")
    finally:
        end(other)
    assert served.answers()
    # The port is free again.
    end(start_server(httpd(served.root, "--port", "8080"), served.stack.env))


def test_a_dead_client_leaves_nothing_open(served):
    """The far end dies: the kernel closes its connections, the server and the replicas forget them."""

    def descriptors():
        return len(os.listdir(f"/proc/{served.server.pid}/fd"))

    before = descriptors()
    held = served.client("hold", f"--count={COUNT}")
    # The client is connected before the server has accepted.
    wait_for(lambda: descriptors() >= before + COUNT, 10, "all accepted")
    held.process.kill()
    held.close()
    wait_for(
        lambda: all(row["state"] in ("LISTEN", "TIME-WAIT") for row in served.sockets()), 10, "no connection"
    )
    wait_for(lambda: descriptors() <= before, 10, "no descriptor")
