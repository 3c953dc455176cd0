"""The control socket with clients that behave and clients that don't."""

import gc
import json
import os
import selectors
import socket

import pytest

from neat.supervisor.control import MAX_REQUEST, CommandError, ControlServer, until


class Served:
    """A server on a socket in `directory`, turned by hand."""

    def __init__(self, directory, handle):
        self.path = str(directory / "control.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen()
        self.selector = selectors.DefaultSelector()
        self.server = ControlServer(listener.detach(), self.selector, handle)

    def client(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.path)
        sock.setblocking(False)
        return sock

    def turn(self, times=3):
        for _ in range(times):
            for key, _mask in self.selector.select(0):
                key.data()
            self.server.advance()

    def ask(self, sock, *lines):
        sock.sendall(b"".join(lines))
        self.turn()
        return [json.loads(line) for line in sock.recv(1 << 20).splitlines()]


@pytest.fixture
def flags():
    return {"go": False, "closed": False}


@pytest.fixture
def served(tmp_path, flags):
    def slow():
        try:
            yield lambda: flags["go"]
            return {"slow": True}
        finally:
            flags["closed"] = True

    def unthought(value):
        yield lambda: True
        return {"echo": f"{value:g}"}

    def handle(request):
        if request.get("op") == "slow":
            return slow()
        if request.get("op") == "big":
            return {"data": "x" * (4 << 20)}
        if request.get("op") == "bad":
            raise CommandError("not so")
        if request.get("op") == "unthought":
            return {"echo": f"{request['value']:g}"}
        if request.get("op") == "unthought task":
            return unthought(request["value"])
        return {"echo": request.get("op")}

    return Served(tmp_path, handle)


def test_requests_are_answered_in_order(served):
    sock = served.client()
    served.turn()
    assert served.ask(sock, b'{"op": 1}\n', b'{"op": 2}\n') == [
        {"ok": True, "echo": 1},
        {"ok": True, "echo": 2},
    ]


def test_error_is_one_reply_and_the_connection_lives(served):
    sock = served.client()
    served.turn()
    assert served.ask(sock, b'{"op": "bad"}\n') == [{"ok": False, "error": "not so"}]
    assert served.ask(sock, b'{"op": 1}\n') == [{"ok": True, "echo": 1}]


NONSENSE = [b"{\n", b"[]\n", b"\xff\xfe\n", b"null\n", b"7\n", b"\n", b"[" * 9000 + b"\n"]


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense_is_answered_as_such(served, line):
    sock = served.client()
    served.turn()
    (reply,) = served.ask(sock, line)
    assert reply["ok"] is False
    assert reply["error"].startswith("bad request")


@pytest.mark.parametrize("op", ["unthought", "unthought task"])
@pytest.mark.parametrize("value", ["1" + "0" * 400, "null", "{}", '"two\\nlines"'])
def test_what_no_handler_has_thought_of_is_a_bad_request(served, op, value):
    """Too large for a float, of another type: one line, and the next request is answered."""
    sock = served.client()
    served.turn()
    asked = b'{"op": "%s", "value": %s}\n{"op": "unthought"}\n{"op": 1}\n' % (op.encode(), value.encode())
    bad, missing, good = served.ask(sock, asked)
    assert not bad["ok"] and bad["error"].startswith("bad request: ") and "\n" not in bad["error"]
    assert not missing["ok"]
    assert good == {"ok": True, "echo": 1}


def test_request_in_pieces(served):
    sock = served.client()
    served.turn()
    for piece in (b'{"op"', b": 5", b"}"):
        sock.sendall(piece)
        served.turn()
    assert served.ask(sock, b"\n") == [{"ok": True, "echo": 5}]


def test_task_answers_when_its_condition_holds_and_others_are_served_meanwhile(served, flags):
    waiting, other = served.client(), served.client()
    served.turn()
    waiting.sendall(b'{"op": "slow"}\n{"op": 2}\n')
    served.turn()
    assert served.server.busy
    assert served.ask(other, b'{"op": 1}\n') == [{"ok": True, "echo": 1}]
    with pytest.raises(BlockingIOError):
        waiting.recv(100)
    flags["go"] = True
    served.turn()
    assert [json.loads(line) for line in waiting.recv(1000).splitlines()] == [
        {"ok": True, "slow": True},
        {"ok": True, "echo": 2},
    ]
    assert not served.server.busy


def test_client_that_leaves_takes_its_task_with_it(served, flags):
    sock = served.client()
    served.turn()
    sock.sendall(b'{"op": "slow"}\n')
    served.turn()
    sock.close()
    served.turn()
    assert flags["closed"]
    assert served.server.clients == []


def test_reply_larger_than_the_socket_arrives_whole(served):
    sock = served.client()
    served.turn()
    sock.sendall(b'{"op": "big"}\n')
    received = b""
    for _ in range(2000):
        served.turn(1)
        try:
            received += sock.recv(1 << 16)
        except BlockingIOError:
            continue
        if received.endswith(b"\n"):
            break
    assert len(json.loads(received)["data"]) == 4 << 20


def test_endless_line_ends_the_connection(served):
    sock = served.client()
    served.turn()
    for _ in range(2 * MAX_REQUEST // 4096):
        try:
            sock.sendall(b"x" * 4096)
        except OSError:
            break
        served.turn(1)
    assert served.server.clients == []
    assert "longer than" in json.loads(sock.recv(1000))["error"]


def test_descriptors_do_not_leak(served):
    gc.collect()  # other tests' garbage
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        sock = served.client()
        served.turn()
        served.ask(sock, b'{"op": 1}\n')
        sock.close()
        served.turn()
    assert len(os.listdir("/proc/self/fd")) == before


def test_until_ends_with_its_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("neat.supervisor.control.time.monotonic", lambda: now[0])
    condition = until(lambda: False, 2.0)
    assert not condition()
    now[0] += 2.0
    assert condition()
