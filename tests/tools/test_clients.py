"""The clients of the tour, against the demo server on loopback and against a server that lies."""

import hashlib
import os
import socket
import sys
import threading

import pytest

from neat.tools.bench.processes import end, start_server
from neat.tools.bench.servers import httpd
from neat.tools.clients import complete_body, summary
from neat.tools.driven import Client, ClientError, Download

BODY = b"what is expected\n"


def directly(command):
    return list(command)


@pytest.fixture
def port(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    (tmp_path / "big").write_bytes(bytes(8 << 20))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server(httpd(tmp_path, "--kernel", "--bind", "127.0.0.1", "--port", str(port)))
    yield port
    end(server)


def client(what, port, *arguments, body=BODY):
    digest = hashlib.sha256(body).hexdigest()
    options = [what, "127.0.0.1", f"--port={port}", "--path=/a", f"--sha256={digest}", *arguments]
    return Client(directly, dict(os.environ), *options)


def test_held_connections_answer(port):
    with client("hold", port, "--count=20") as held:
        assert len(set(held.first["ports"])) == 20
        for _ in range(2):
            report = held.ask("round")
            assert (report["ok"], report["lost"], report["failed"]) == (20, {}, {})


def test_wrong_bytes_are_noticed(port):
    with client("hold", port, "--count=3", body=b"else") as held:
        report = held.ask("round")
        assert report["ok"] == 0 and len(report["failed"]) == 3


def test_lost_connections_are_named():
    """A server that resets one of its connections: that one is lost, and it is known which."""
    ports = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        accepted = [listener.accept()[0] for _ in range(3)]
        ports.extend(sock.getpeername()[1] for sock in accepted)
        reset = accepted.pop(1)
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.close()
        for sock in accepted:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        for sock in accepted:
            assert sock.recv(1000) == b""
            sock.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with client("hold", listener.getsockname()[1], "--count=3") as held:
        report = held.ask("round")
    thread.join(10)
    listener.close()
    assert report["ok"] == 2 and not report["failed"]
    assert list(report["lost"]) == [str(ports[1])]


def test_a_constant_rate(port):
    with client("probe", port, "--rate=200") as probe:
        threading.Event().wait(0.3)
        report = probe.ask("report")
        assert report["probes"] == report["ok"] > 0 and not report["failed"]


def test_many_short_connections(port):
    with client("churn", port, "--count=200", "--parallel=8") as report:
        assert (report.first["ok"], report.first["failed"]) == (200, {})


def test_nobody_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ClientError, match="gave up"):
        client("hold", port)
    with client("churn", port, "--count=4") as report:
        assert report.first["failed"] == {"ConnectionRefusedError": 4}


def test_a_download_and_its_middle(port, tmp_path):
    url = f"http://127.0.0.1:{port}"
    download = Download(directly, dict(os.environ), f"{url}/big", tmp_path / "got", 2)
    download.wait_until(1 << 20)
    assert download.running
    digest, seconds = download.finish()
    assert seconds > 3
    assert digest == hashlib.sha256(bytes(8 << 20)).hexdigest()
    download.close()
    missing = Download(directly, dict(os.environ), f"{url}/none", tmp_path / "none")
    with pytest.raises(ClientError, match="404"):
        missing.finish()
    missing.close()


def test_gaps():
    """The longest time without an answer, with the edges of the observation counted in."""
    done = [(0.0, 0.1, "ok"), (0.5, 0.6, "timeout"), (1.0, 1.1, "ok")]
    report = summary(done, 0.0, 1.2)
    assert (report["probes"], report["ok"], report["failed"]) == (3, 2, {"timeout": 1})
    assert report["longest_gap_ms"] == 1000.0
    assert summary([], 0.0, 2.0)["longest_gap_ms"] == 2000.0


def test_bodies():
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
    assert [complete_body(answer[:size]) for size in range(len(answer))] == [None] * len(answer)
    assert complete_body(answer) == b"abc"
    assert complete_body(b"HTTP/1.1 404 Not Found\r\n\r\n") == b"HTTP/1.1 404 Not Found"


def test_a_stopped_client_is_an_error():
    mute = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with pytest.raises(ClientError, match="no report"):
        Client(lambda command: mute, dict(os.environ), patience=0.2)
