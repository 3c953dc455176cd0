"""What programs build on sockets: selectors, asyncio, socketserver, http.server."""

import asyncio
import http.client
import http.server
import os
import selectors
import socketserver
import threading

from neat import socket as neat_socket


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


def on(world, base):
    """A server class of the standard library, on this world's sockets."""
    if world.name == "kernel":
        return base
    return type(base.__name__, (neat_socket.ServerMixin, base), {})


def test_selectors(world):
    listener = world.listener()
    listener.setblocking(False)
    peers = [world.peer_socket() for _ in range(5)]
    got = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        for n, peer in enumerate(peers):
            peer.connect(listener.getsockname())
            peer.sendall(b"%d" % n)
        while len(got) < len(peers):
            for key, _ in selector.select(10):
                if key.fileobj is listener:
                    new = world.keep(listener.accept()[0])
                    new.setblocking(False)
                    selector.register(new, selectors.EVENT_READ)
                else:
                    got[key.fileobj] = key.fileobj.recv(100)
                    selector.unregister(key.fileobj)
    assert sorted(got.values()) == [b"%d" % n for n in range(len(peers))]


def test_asyncio_sock_methods(world):
    listener = world.listener()
    listener.setblocking(False)
    peer_listener = world.peer_listener()
    data = os.urandom(500_000)

    async def serve(loop):
        subject, _ = await loop.sock_accept(listener)
        world.keep(subject)
        buffer = bytearray(4)
        assert await loop.sock_recv_into(subject, buffer) == 4
        await loop.sock_sendall(subject, data)
        assert await loop.sock_recv(subject, 10) == b"done"

    async def call(loop):
        subject = world.socket()
        subject.setblocking(False)
        await loop.sock_connect(subject, peer_listener.getsockname())
        await loop.sock_sendall(subject, b"hello")
        return await loop.sock_recv(subject, 100)

    def peer():
        sock = world.peer_socket()
        sock.connect(listener.getsockname())
        sock.sendall(b"send")
        left = len(data)
        while left:
            left -= len(sock.recv(65536))
        sock.sendall(b"done")
        other = world.keep(peer_listener.accept()[0])
        other.sendall(other.recv(100).upper())

    async def main():
        loop = asyncio.get_running_loop()
        remote = loop.run_in_executor(None, peer)
        await asyncio.wait_for(serve(loop), 20)
        assert await asyncio.wait_for(call(loop), 20) == b"HELLO"
        await remote

    asyncio.run(main())


def test_asyncio_streams(world):
    listener = world.listener()

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    def peer():
        sock = world.peer_socket()
        sock.connect(listener.getsockname())
        sock.sendall(b"a line\n")
        with sock.makefile("rb") as file:
            return file.read()

    async def main():
        server = await asyncio.start_server(echo, sock=listener)
        async with server:
            return await asyncio.wait_for(asyncio.to_thread(peer), 20)

    assert asyncio.run(main()) == b"a line\n"


def serve(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    return thread


def test_threading_server(world):
    server = on(world, socketserver.ThreadingTCPServer)((world.host, 0), Echo)
    thread = serve(server)
    try:
        for n in range(5):
            peer = world.peer_socket()
            peer.connect(server.server_address)
            peer.sendall(b"line %d\n" % n)
            assert peer.recv(100) == b"line %d\n" % n
            peer.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_http_server(world, tmp_path):
    body = os.urandom(300_000)
    (tmp_path / "file").write_bytes(body)

    def handler(*arguments):
        return Files(*arguments, directory=tmp_path)

    server = on(world, http.server.ThreadingHTTPServer)((world.host, 0), handler)
    thread = serve(server)
    try:
        peer = world.peer_socket()
        peer.connect(server.server_address)
        client = http.client.HTTPConnection(*server.server_address)
        client.sock = peer
        for _ in range(3):
            client.request("GET", "/file")
            assert client.getresponse().read() == body
        client.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
