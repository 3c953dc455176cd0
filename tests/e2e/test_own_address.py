"""A program on the stack talks to a program on the same stack: its own address leads back to it."""

import signal
import sys
import threading

import pytest

from tests.e2e.conftest import ADDRESS
from tests.support import each_datapath, running_stack, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

CLIENT = """
import hashlib, neat.socket as socket, os, threading
SIZE = 4_000_000

def serve(listener):
    while True:
        sock, peer = listener.accept()
        threading.Thread(target=echo, args=(sock, peer), daemon=True).start()

def echo(sock, peer):
    assert peer == sock.getpeername() and peer[0] == "10.77.0.2", peer
    while data := sock.recv(1 << 16):
        sock.sendall(data)
    sock.close()

def fetch(size):
    data = os.urandom(size)
    with socket.create_connection(("10.77.0.2", 80)) as sock:
        assert sock.getsockname()[0] == sock.getpeername()[0] == "10.77.0.2"
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        found = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        sender.join()
    assert found == data, (len(found), len(data))

listener = socket.create_server(("10.77.0.2", 80), backlog=64)
threading.Thread(target=serve, args=(listener,), daemon=True).start()
print("ready", flush=True)
fetch(SIZE)
for number in range(40):
    fetch(number * 100)
try:
    socket.create_connection(("10.77.0.2", 81))
    print("connected to nothing", flush=True)
except ConnectionRefusedError:
    print("refused", flush=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("10.77.0.2", 7))
for number in range(30):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.sendto(bytes([number]) * 1000, ("10.77.0.2", 7))
    server.settimeout(5)
    data, sender = server.recvfrom(2000)
    assert sender[0] == "10.77.0.2"
    server.sendto(data, sender)
    assert client.recvfrom(2000) == (bytes([number]) * 1000, ("10.77.0.2", 7))
    client.close()
nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
nobody.settimeout(5)
nobody.connect(("10.77.0.2", 9))
nobody.send(b"anybody?")
try:
    nobody.recv(10)
except ConnectionRefusedError:
    print("nobody", flush=True)
"""

HELD = """
import neat.socket as socket, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
listener = socket.create_server(("10.77.0.2", 80), backlog=64)
pairs = []
for number in range(16):
    client = socket.create_connection(("10.77.0.2", 80))
    pairs.append((client, listener.accept()[0]))
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
worked = broken = 0
for client, server in pairs:
    try:
        server.settimeout(10)
        client.settimeout(10)
        client.sendall(b"x")
        server.sendall(b"y")
        assert server.recv(1) == b"x"
        assert client.recv(1) == b"y"
        worked += 1
    except ConnectionError:
        broken += 1
print(worked, broken, flush=True)
client = socket.create_connection(("10.77.0.2", 80))
server = listener.accept()[0]
server.sendall(b"again")
print(client.recv(5).decode(), flush=True)
"""

FORGE = """
from scapy.all import IP, TCP, Ether, conf, getmacbyip, sendp
to = getmacbyip("10.77.0.2")
packet = Ether(dst=to) / IP(src="10.77.0.2", dst="10.77.0.2") / TCP(dport=80, flags="S")
sendp(packet, iface=conf.route.route("10.77.0.2")[0], verbose=False)
"""


@pytest.mark.parametrize(("replicas", "offload"), [(1, True), (3, True), (2, False)])
def test_streams_and_datagrams_come_back(replicas, offload, datapath, python_on_stack):
    """Large and small streams, a refused connection, datagrams, and the error for one that nobody wanted."""
    with running_stack(replicas=replicas, offload=offload, datapath=datapath) as stack:
        process = python_on_stack(stack, CLIENT)
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        assert [process.stdout.readline().strip() for _ in range(2)] == ["refused", "nobody"]
        watchdog.cancel()
        status = stack.status()
        driver, replicas = status["driver"]["counters"], [part["counters"] for part in status["replicas"]]
        assert driver["looped_frames"] > 200 and driver["looped_bytes"] > 8_000_000
        sent = driver["tx_bytes"] + sum(counters["queue_tx_bytes"] for counters in replicas)
        assert sent < 100_000, "nothing of it went to the wire"


def test_a_replica_that_dies_with_its_state_ends_its_side(datapath, python_on_stack):
    """Pairs with an end in the dead replica are reset; the others go on, and new ones come about.

    The end that lives hears of it when it sends, as any peer does.
    """
    with running_stack(replicas=2, recovery="stateless", datapath=datapath) as stack:
        worked, broken = strike_between_ends(stack, python_on_stack)
        assert worked + broken == 16 and broken > 0


def test_a_replica_that_dies_goes_on_with_both_ends(datapath, python_on_stack):
    """Also of connections whose two ends it has."""
    with running_stack(replicas=2, datapath=datapath) as stack:
        assert strike_between_ends(stack, python_on_stack) == (16, 0)


def strike_between_ends(stack, python_on_stack):
    process = python_on_stack(stack, HELD)
    victim = stack.component("replica0")
    stack.neat("kill", "replica0")
    wait_for(lambda: restarted(stack, victim["pid"]), 20, "a successor of replica0")
    process.send_signal(signal.SIGUSR1)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    worked, broken = map(int, process.stdout.readline().split())
    assert process.stdout.readline().strip() == "again"
    watchdog.cancel()
    return worked, broken


def restarted(stack, pid):
    component = stack.component("replica0")
    return component["state"] == "running" and component["pid"] != pid


def test_the_wire_may_not_speak_for_us(datapath):
    """A frame from outside with our own source address is dropped, as any host does."""
    with running_stack(replicas=1, datapath=datapath) as stack:
        stack.peer("ping", "-c1", "-W2", ADDRESS)

        def dropped():
            return stack.status()["replicas"][0]["counters"]["ip_bad_address"]

        before = dropped()
        stack.peer(
            sys.executable,
            "-c",
            FORGE,
        )
        wait_for(lambda: dropped() == before + 1, 5, "the counter")
