"""Ordinary programs at the other end of the wire, and nothing goes wrong."""

import hashlib
import re
import sys

import pytest

from tests.e2e.conftest import ADDRESS
from tests.support import each_datapath, wait_for

pytestmark = [pytest.mark.netns, each_datapath]

UDP_ECHO = """
import neat.socket as socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 7))
print("ready", flush=True)
while True:
    data, sender = sock.recvfrom(65535)
    sock.sendto(data, sender)
"""

UDP_CLIENT = """
import socket, sys
for number in range(200):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.connect((sys.argv[1], 7))
    data = bytes([number]) * (number * 7)
    sock.send(data)
    assert sock.recv(65535) == data, number
    sock.close()
"""

CONNECT = """
import hashlib, neat.socket as socket, sys
print("ready", flush=True)
digest = hashlib.sha256()
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    sock.sendall(b"x" * 1000000)
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        digest.update(data)
print(digest.hexdigest(), flush=True)
"""

ECHO_ONCE = """
import socket, sys
with socket.create_server((sys.argv[1], 900)) as listener:
    print("ready", flush=True)
    sock, _ = listener.accept()
    while data := sock.recv(65536):
        sock.sendall(data)
"""


@pytest.mark.quick
def test_curl_gets_what_is_served(shared):
    """Every file of the site, over one connection."""
    paths = sorted(shared.hashes)
    paths.remove("/big.bin")
    done = shared.stack.peer("curl", "-sS", "--fail", *(shared.url + path for path in paths), text=False)
    assert done.stdout == b"".join((shared.root / path[1:]).read_bytes() for path in paths)


@pytest.mark.parametrize("method", ["HEAD", "range"])
def test_curl_head_and_range(shared, method):
    if method == "HEAD":
        text = shared.stack.peer("curl", "-sSI", f"{shared.url}/big.bin").stdout
        assert re.search(rf"(?i)^content-length: {100 << 20}\r?$", text, re.MULTILINE)
    else:
        options = ("curl", "-sS", "-r", "1000000-3000000")
        found = shared.stack.peer(*options, f"{shared.url}/big.bin", text=False).stdout
        assert found == (shared.root / "big.bin").read_bytes()[1000000:3000001]


@pytest.mark.quick
def test_ping(shared):
    text = shared.stack.peer("ping", "-c", "5", "-i", "0.05", "-s", "1200", "-W", "2", ADDRESS).stdout
    assert "5 received" in text


def test_a_closed_port_refuses(shared):
    done = shared.stack.peer("curl", "-sS", "--max-time", "5", f"http://{ADDRESS}:81/", check=False)
    assert done.returncode == 7, done.stderr


def test_httperf(shared):
    command = ["httperf", "--hog", f"--server={ADDRESS}", "--uri=/files/1000.bin", "--timeout=5"]
    text = shared.stack.peer(*command, "--num-conns=200", "--num-calls=20", "--rate=500").stdout
    assert "replies 4000 " in text and "2xx=4000" in text
    assert "Errors: total 0 " in text


@pytest.mark.quick
def test_500_connections_spread_over_the_replicas(shared):
    with shared.client("hold", "--count=500", path="/files/10000.bin") as held:
        owners = shared.owners(set(held.first["ports"]))
        for _ in range(3):
            report = held.ask("round")
            assert (report["ok"], report["lost"], report["failed"]) == (500, {}, {})
    assert sorted(owners) == [0, 1, 2]
    assert sum(map(len, owners.values())) == 500
    # A fair hash gives 167 ± 11; a sixth of them is no accident.
    assert min(map(len, owners.values())) > 80


def test_short_connections_leave_nothing(shared):
    def open_connections():
        return [row for row in shared.sockets() if row["state"] != "LISTEN"]

    with shared.client("churn", "--count=5000", "--parallel=32", "--widen-ports") as client:
        assert (client.first["ok"], client.first["failed"]) == (5000, {})
    wait_for(lambda: not open_connections(), 20, "the end of all connections")


@pytest.mark.quick
def test_udp_echo(shared, python_on_stack):
    """Each datagram from another port, so that every replica has some."""
    python_on_stack(shared.stack, UDP_ECHO)
    shared.stack.peer(sys.executable, "-c", UDP_CLIENT, ADDRESS)


@pytest.mark.quick
def test_connecting_out(shared, python_on_stack):
    """A program on the stack as the client of one on the kernel's side."""
    options = {"stdout": -1, "text": True}
    server = shared.stack.popen_peer(sys.executable, "-c", ECHO_ONCE, "10.77.0.1", **options)
    try:
        assert server.stdout.readline() == "ready\n"
        client = python_on_stack(shared.stack, CONNECT, "10.77.0.1", "900")
        assert client.stdout.readline().strip() == hashlib.sha256(b"x" * 1000000).hexdigest()
        assert client.wait(10) == 0 and server.wait(10) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("served", [{"replicas": n} for n in (1, 2, 4)], indirect=True, ids=lambda p: str(p))
def test_100_mb(served, tmp_path):
    """One file of 100 MB, and then four of them at once."""
    downloads = [served.download(tmp_path / "alone")]
    try:
        assert downloads[0].finish()[0] == served.hashes["/big.bin"]
        downloads += [served.download(tmp_path / f"{n}") for n in range(4)]
        for download in downloads[1:]:
            assert download.finish()[0] == served.hashes["/big.bin"]
    finally:
        for download in downloads:
            download.close()
