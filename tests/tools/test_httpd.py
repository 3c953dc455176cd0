"""The server on loopback, with Linux's sockets: what leaves the wire for what goes in."""

import hashlib
import os
import re
import socket
import threading

import pytest

from neat.tools.httpd import server as server_module
from neat.tools.httpd.files import Page, Site
from neat.tools.httpd.respond import Responder
from neat.tools.httpd.server import Server

BIG = os.urandom(64) * 40_000


class Stop(Exception):
    pass


class Client:
    """A raw connection; `ask` sends bytes, `response` reads one answer."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, timeout=10)
        self.stream = self.sock.makefile("rb")

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))

    def response(self, method="GET"):
        status = int(self.stream.readline().split()[1])
        fields = {}
        while (line := self.stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        size = 0 if method == "HEAD" or status == 304 else int(fields["content-length"])
        return status, fields, self.stream.read(size)

    def ask(self, target="/", *lines, method="GET"):
        self.send("\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *lines, "", ""]))
        return self.response(method)

    def ended(self):
        return self.stream.read() == b""

    def close(self):
        self.stream.close()
        self.sock.close()


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("hello\n")
    (root / "big.bin").write_bytes(BIG)
    (root / "empty").write_bytes(b"")
    (root / "<i>&.html").write_text("x")
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "outdir").symlink_to(tmp_path)
    (root / "in").symlink_to("a.txt")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def address(site):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    def stop():
        raise Stop

    server = Server(
        listener, Responder(Site(site), "test", {b"/-/x": lambda: Page(b"extra"), b"/-/stop": stop})
    )

    def run():
        with pytest.raises(Stop):
            server.run()

    thread = threading.Thread(target=run)
    thread.start()
    yield listener.getsockname()
    with socket.create_connection(listener.getsockname()) as sock:
        sock.sendall(b"GET /-/stop HTTP/1.0\r\n\r\n")
    thread.join(10)
    listener.close()
    assert not thread.is_alive()
    assert not server.connections


@pytest.fixture
def client(address):
    client = Client(address)
    yield client
    client.close()


def test_a_file(client):
    for _ in range(3):
        status, fields, body = client.ask("/a.txt")
        assert (status, body, fields["content-type"]) == (200, b"hello\n", "text/plain; charset=utf-8")


def test_a_changed_file_is_noticed(client, site, monkeypatch):
    client.ask("/a.txt")
    (site / "a.txt").write_text("other\n")
    for _ in range(400):
        if client.ask("/a.txt")[2] == b"other\n":
            return
        threading.Event().wait(0.01)
    pytest.fail("the old content was served for four seconds")


def test_a_big_file(client):
    status, fields, body = client.ask("/big.bin")
    assert status == 200 and hashlib.sha256(body).digest() == hashlib.sha256(BIG).digest()
    assert client.ask("/a.txt")[0] == 200


def test_head_is_get_without_body(client):
    for path in ("/a.txt", "/big.bin", "/", "/nothing"):
        head = client.ask(path, method="HEAD")
        get = client.ask(path)
        assert head[0] == get[0] and head[1] == get[1] and head[2] == b""


def test_an_empty_file(client):
    assert client.ask("/empty")[0::2] == (200, b"")


def test_pipelining_keeps_the_order(client):
    targets = ["/a.txt", "/big.bin", "/nothing", "/a.txt", "/empty"] * 6
    text = "".join(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n" for target in targets)
    writer = threading.Thread(target=client.send, args=(text,))
    writer.start()
    wanted = {"/a.txt": b"hello\n", "/big.bin": BIG, "/empty": b""}
    for target in targets:
        status, _, body = client.response()
        if target in wanted:
            assert status == 200 and body == wanted[target]
        else:
            assert status == 404
    writer.join()


def test_a_thousand_pipelined_requests(client):
    client.send("GET /big.bin HTTP/1.1\r\nHost:\r\nRange: bytes=0-65536\r\n\r\n" * 300)
    for _ in range(300):
        assert client.response()[2] == BIG[:65537]


def test_requests_byte_by_byte(client):
    for byte in b"\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n":
        client.send(bytes([byte]))
    assert client.response()[2] == b"hello\n"


def test_ranges(client):
    status, fields, body = client.ask("/big.bin", "Range: bytes=100000-299999")
    assert (status, body) == (206, BIG[100000:300000])
    assert fields["content-range"] == f"bytes 100000-299999/{len(BIG)}"
    assert client.ask("/a.txt", "Range: bytes=-2")[2] == b"o\n"
    status, fields, _ = client.ask("/a.txt", "Range: bytes=6-")
    assert (status, fields["content-range"]) == (416, "bytes */6")
    assert client.ask("/a.txt", "Range: bytes=0-0,2-2")[0] == 200
    assert client.ask("/a.txt", "Range: bytes=0-0", 'If-Range: "else"')[0] == 200


def test_conditions(client):
    fields = client.ask("/a.txt")[1]
    assert client.ask("/a.txt", f"If-Modified-Since: {fields['last-modified']}")[0] == 304
    assert client.ask("/a.txt", f"If-None-Match: {fields['etag']}")[0] == 304
    assert (
        client.ask("/a.txt", 'If-None-Match: "x"', f"If-Modified-Since: {fields['last-modified']}")[0] == 200
    )
    assert client.ask("/a.txt", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT")[0] == 200
    assert client.ask("/a.txt", "If-Modified-Since: soon")[0] == 200
    assert client.ask("/a.txt", f"If-Range: {fields['etag']}", "Range: bytes=0-0")[0] == 206


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/out",
        "/outdir/secret",
        "/..%2fsecret",
        "/a.txt%00",
    ],
)
def test_nothing_outside_of_the_directory(address, target):
    client = Client(address)
    status, _, body = client.ask(target)
    assert status in (400, 404) and b"secret" not in body.lower()
    client.close()


def test_links_inside_are_followed(client):
    assert client.ask("/in")[2] == b"hello\n"


def test_what_is_no_file(client):
    assert client.ask("/fifo")[0] == 404
    assert client.ask("/a.txt/")[0] == 404
    assert client.ask("/" + "a" * 300)[0] == 404


def test_directories(client, site):
    status, fields, _ = client.ask("/sub")
    assert (status, fields["location"]) == (301, "/sub/")
    text = client.ask("/")[2].decode()
    assert "&lt;i&gt;&amp;.html" in text and 'href="./sub/"' in text
    assert all(client.ask("/" + link)[0] == 200 for link in re.findall(r'href="./(%3C[^"]*)"', text))
    (site / "sub" / "index.html").write_text("index")
    assert client.ask("/sub/")[2] == b"index"


def test_extras(client):
    assert client.ask("/-/x")[2] == b"extra"


def test_an_error_that_leaves_the_connection_open(client):
    status, fields, _ = client.ask("/a.txt", method="DELETE")
    assert (status, fields["allow"], fields["connection"]) == (405, "GET, HEAD", "keep-alive")
    assert client.ask("/a.txt")[0] == 200


def test_an_error_that_ends_it(client):
    client.send(b"\x16\x03\x01\r\n\r\n" + b"x" * 100_000)
    status, fields, _ = client.response()
    assert (status, fields["connection"]) == (400, "close")
    assert client.ended()


def test_bodies_are_skipped(client):
    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + "G" * 70000)
    assert client.response()[0] == 200
    assert client.ask("/a.txt")[0] == 200


def test_close_when_asked(client):
    assert client.ask("/a.txt", "Connection: close")[2] == b"hello\n"
    assert client.ended()


def test_a_half_closed_client_gets_its_answer(client):
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.response()[2] == BIG
    assert client.ended()


def test_a_truncated_file_ends_the_connection_only(address, site):
    """The bytes that Content-Length promised are not there any more."""
    slow = Client(address)
    (site / "huge").write_bytes(bytes(64 << 20))
    slow.send("GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
    slow.stream.readline()
    os.truncate(site / "huge", 1 << 20)
    assert len(slow.stream.read()) < 64 << 20
    slow.close()
    client = Client(address)
    assert client.ask("/a.txt")[0] == 200
    client.close()


def test_slow_heads_time_out(monkeypatch, address):
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.0)
    client = Client(address)
    client.send("GET / HT")
    assert client.response()[0] == 408
    assert client.ended()
    client.close()


def test_no_more_than_the_limit(site):
    """Above the limit, connections wait in the backlog until there is room."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server = Server(listener, Responder(Site(site), "test"), limit=2)
    clients = [Client(listener.getsockname()) for _ in range(3)]
    for client in clients:
        client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
    while len(server.connections) < 2:
        server.turn()
    for _ in range(3):
        server.turn()
    assert len(server.connections) == 2 and server.stats.accepted == 2
    clients[0].close()
    while server.stats.accepted < 3:
        server.turn()
    server.turn()
    assert clients[2].response()[0] == 200
    for client in clients[1:]:
        client.close()
    for connection in list(server.connections.values()):
        server.close(connection)
    server.epoll.close()
    listener.close()
