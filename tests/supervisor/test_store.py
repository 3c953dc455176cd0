"""The guardian's store: both sides over real sockets, the server in a thread."""

import os
import selectors
import socket
import threading

import pytest

from neat.store import LIST_CHUNK, Store, StoreError, StoreServer


@pytest.fixture
def served():
    """(server, connect): connect() gives a client's end of a socket that the server answers on."""
    server = StoreServer()
    selector = selectors.DefaultSelector()
    wake, stop = socket.socketpair()
    selector.register(wake, selectors.EVENT_READ)

    def connect():
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.setblocking(False)
        selector.register(peer, selectors.EVENT_READ)
        stop.send(b"new")
        return ours

    def serve():
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    if not wake.recv(64):
                        return
                elif not server.handle(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            for client in server.new_clients:
                selector.register(client, selectors.EVENT_READ)
            server.new_clients.clear()

    thread = threading.Thread(target=serve)
    thread.start()
    yield server, connect
    stop.close()
    thread.join(5)
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    server.close()


@pytest.fixture
def store(served):
    return Store(served[1]().detach())


def memfd(text):
    fd = os.memfd_create("test")
    os.write(fd, text)
    return fd


def test_get_gives_a_descriptor_of_the_same_file(store):
    fd = memfd(b"hello")
    store.put("a", fd)
    os.close(fd)
    again = store.get("a")
    assert os.pread(again, 10, 0) == b"hello"
    assert not os.get_inheritable(again)
    os.close(again)


def test_put_replaces(store):
    for text in (b"old", b"new"):
        store.put("a", memfd(text))
    assert os.pread(store.get("a"), 10, 0) == b"new"
    assert store.list() == ["a"]


def test_drop_and_missing(store):
    store.put("a", memfd(b""))
    assert store.drop("a") is True
    assert store.drop("a") is False
    assert store.get("a") is None


def test_list_by_prefix_in_several_datagrams(store):
    fd = memfd(b"")
    for i in range(LIST_CHUNK + 5):
        store.put(f"app.{i:05}", fd)
    store.put("bind.1", fd)
    names = store.list("app.")
    assert len(names) == LIST_CHUNK + 5
    assert names == sorted(names)
    assert store.list("bind.") == ["bind.1"]


def test_serve_gives_a_second_client_the_same_store(store):
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    store.put("a", memfd(b"shared"))
    store.serve(peer.fileno())
    peer.close()
    other = Store(ours.detach())
    assert os.pread(other.get("a"), 10, 0) == b"shared"


NONSENSE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"op": 7}',
    b'{"op": "put"}',
    b'{"op": "put", "name": "x"}',
    b'{"op": "get", "name": 3}',
    b'{"op": "list", "prefix": {}}',
    b'{"op": "serve"}',
    b"\xff" * 4000,
    b"[" * 4000,
]


@pytest.mark.parametrize("request_", NONSENSE)
def test_nonsense_is_refused_and_the_store_goes_on(served, request_):
    _server, connect = served
    raw = connect()
    raw.settimeout(5)
    if request_:
        raw.send(request_)
        assert b'"ok": false' in raw.recv(4096)
    raw.close()
    good = Store(connect().detach())
    good.put("still", memfd(b""))
    assert good.list() == ["still"]


def test_serve_refuses_what_is_no_socket(store):
    with pytest.raises(StoreError):
        store.serve(memfd(b""))
    assert store.list() == []


def test_descriptors_of_refused_requests_do_not_leak(served):
    server, connect = served
    store = Store(connect().detach())
    for _ in range(20):
        fd = os.memfd_create("refused")
        with pytest.raises(StoreError):
            store.put("", fd)
        os.close(fd)
    links = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
    assert not [link for link in links if "refused" in link]
    assert server.kept == {}


def test_a_guardian_that_is_gone_is_said_so():
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.close()
    with pytest.raises(StoreError):
        Store(ours.detach()).list()
