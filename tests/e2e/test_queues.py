"""The datapath "queues": what goes on without the driver, what still needs it, and what may be in a frame."""

import os
import random
import signal
import subprocess
import sys

import pytest

from tests.e2e.conftest import serve
from tests.e2e.test_hostile import components, mac_of

pytestmark = [pytest.mark.netns, pytest.mark.parametrize("datapath", ["queues"], indirect=True)]
COUNT = 90
OPENED = 24
ROUNDS = 20
FRAMES = 30_000

ECHO = """
import socket, threading
def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()
with socket.create_server(("10.77.0.1", 900), backlog=100) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""

# Outwards and to the stack's own address, a few at a time and all anew.
OPENING = """
import neat.socket as socket, sys
opened, rounds = map(int, sys.argv[1:])
def receive(sock, size):
    found = b""
    while len(found) < size:
        found += sock.recv(size - len(found))
    return found
listener = socket.create_server(("10.77.0.2", 901), backlog=100)
print("ready", flush=True)
for number in range(rounds):
    socks = [socket.create_connection(("10.77.0.1", 900)) for _ in range(opened)]
    clients = [socket.create_connection(("10.77.0.2", 901)) for _ in range(opened)]
    servers = [listener.accept()[0] for _ in clients]
    by_port = {sock.getpeername()[1]: sock for sock in servers}
    for index, (sock, client) in enumerate(zip(socks, clients)):
        data = bytes([index]) * 3000
        server = by_port[client.getsockname()[1]]
        sock.sendall(data)
        client.sendall(data)
        assert receive(server, 3000) == receive(sock, 3000) == data
        server.sendall(data)
        assert receive(client, 3000) == data
    if number == 0:
        print("open", flush=True)
    for sock in socks + clients + servers:
        sock.close()
print("done", flush=True)
"""


@pytest.fixture
def patient(site, datapath):
    """A stack whose driver may stand still for as long as it likes."""
    with serve(*site, datapath=datapath, hang_ms=60_000) as served:
        yield served


def counters(served):
    """The driver's, and each replica's."""
    status = served.stack.status()
    return status["driver"]["counters"], [part["counters"] for part in status["replicas"]]


def test_flows_go_on_while_the_driver_stands_still(patient):
    """Those that there are, and new ones; also those of a replica that dies meanwhile."""
    with patient.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
        assert held.ask("round")["ok"] == COUNT
        owners = patient.owners(set(held.first["ports"]))
        assert sorted(owners) == [0, 1, 2]
        before = patient.stack.pids()
        driver = before["driver"]
        os.kill(driver, signal.SIGSTOP)
        try:
            assert held.ask("round")["ok"] == COUNT
            with patient.client("churn", "--count=60", "--parallel=4") as fresh:
                assert (fresh.first["ok"], fresh.first["failed"]) == (60, {})
            patient.stack.neat("kill", "replica1")
            patient.replaced("replica1", before["replica1"])
            assert held.ask("round")["ok"] == COUNT
        finally:
            os.kill(driver, signal.SIGCONT)
        assert held.ask("round")["ok"] == COUNT
        assert patient.owners(set(held.first["ports"])) == owners
        assert patient.stack.pids()["driver"] == driver
    of_driver, of_replicas = counters(patient)
    assert of_driver["rx_frames"] < COUNT
    assert sum(each["queue_rx_frames"] for each in of_replicas) > 4 * COUNT


def test_connections_are_opened_while_frames_flow(served, python_on_stack):
    """By every replica: the driver learns those flows, and loops what is for the stack itself."""
    echo = served.stack.popen_peer(sys.executable, "-c", ECHO, stdout=subprocess.PIPE, text=True)
    try:
        assert echo.stdout.readline() == "ready\n"
        with served.client("hold", f"--count={COUNT}", path="/files/100000.bin") as held:
            client = python_on_stack(served.stack, OPENING, str(OPENED), str(ROUNDS))
            assert client.stdout.readline() == "open\n"
            for _ in range(ROUNDS):
                assert held.ask("round")["ok"] == COUNT
            assert client.stdout.readline() == "done\n"
    finally:
        echo.kill()
        echo.wait()
    of_driver, of_replicas = counters(served)
    assert of_driver["looped_frames"] > OPENED * ROUNDS * 6
    assert of_driver["flow_foreign"] == 0
    assert all(each["tcp_active_opens"] > 0 for each in of_replicas)


@pytest.mark.parametrize("served", [{"mtu": 65_521}], indirect=True, ids=["65521"])
def test_frames_of_any_length_and_any_bytes(served):
    """From 14 bytes to 65535, also such as the kernel would segment: counted, and nobody is hurt."""
    before = components(served)
    device, mac = served.stack.status()["tap"], mac_of(served)
    seed = random.randrange(1 << 30)
    with served.client("hold", "--count=30") as held:
        assert held.ask("round")["ok"] == 30
        command = [sys.executable, "-m", "tests.e2e.frames", device, str(FRAMES), str(seed), mac, "--large"]
        sent = int(served.stack.peer(*command, timeout=200).stdout)
        print(f"{sent} frames with seed {seed}")
        report = held.ask("round")
        assert (report["ok"], report["lost"], report["failed"]) == (30, {}, {}), f"seed {seed}"
    assert components(served) == before, f"seed {seed}"
    assert served.answers()
    of_driver, of_replicas = counters(served)
    came = of_driver["rx_frames"] + sum(each["queue_rx_frames"] for each in of_replicas)
    assert came > sent // 2, f"seed {seed}"
    dropped = sum(count for name, count in of_driver.items() if name.startswith("drop_"))
    dropped += sum(sum(part["drops"].values()) for part in served.stack.status()["replicas"])
    assert dropped > sent // 10, f"seed {seed}"
