"""The event loop: accept, read, answer, write; one level-triggered epoll, no thread."""

import contextlib
import errno
import os
import select
import socket
import time
from typing import Any

from neat.tools.httpd.request import HttpError, find_head, parse
from neat.tools.httpd.respond import FilePart, Responder, Response

READ_BYTES = 16 << 10
CHUNK_BYTES = 256 << 10
# Work for one connection in one turn, so that a fast one cannot starve the others.
CHUNKS_A_TURN = 4
ACCEPTS_A_TURN = 64
ROUNDS_A_TURN = 8
# Answers to pipelined requests are joined up to this size before they are written.
JOIN_BYTES = 64 << 10

# Seconds.
HEAD_SECONDS = 10.0  # from the first byte of a request to the end of its head
IDLE_SECONDS = 60.0  # between requests
STALL_SECONDS = 30.0  # without progress of a response
LINGER_SECONDS = 2.0  # for a client that still sends after its last response


class Stats:
    """What the server has done since it started."""

    def __init__(self) -> None:
        self.started = time.time()
        self.accepted = 0
        self.errors = 0  # connections that ended with a socket error
        self.timeouts = 0
        self.bytes_sent = 0
        self.statuses: dict[int, int] = {}

    def count(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Connection:
    """One client.

    While `out` or `rest` is there, the connection is written and not read: that is the back-pressure.
    """

    __slots__ = (
        "chunk",
        "deadline",
        "draining",
        "fd",
        "inbuf",
        "keep_alive",
        "out",
        "rest",
        "skip",
        "sock",
        "writing",
    )

    def __init__(self, sock: Any, deadline: float) -> None:
        self.sock = sock
        self.fd: int = sock.fileno()
        self.inbuf = b""
        self.skip = 0  # bytes of a request body still to be thrown away
        self.out: bytes | memoryview = b""
        self.rest: FilePart | None = None
        self.chunk: bytearray | None = None
        self.keep_alive = True
        self.draining = False  # our last word is said; wait for the client's end
        self.writing = False  # epoll waits for room, not for data
        self.deadline = deadline


class Server:
    """Serves `responder` on a listening socket that is non-blocking. `limit`: connections at once."""

    def __init__(self, listener: Any, responder: Responder, limit: int = 8192) -> None:
        self.listener = listener
        self.responder = responder
        self.limit = limit
        self.stats = Stats()
        self.connections: dict[int, Connection] = {}
        self.now = time.monotonic()
        self.next_tick = self.now
        self.epoll = select.epoll()
        self.epoll.register(listener.fileno(), select.EPOLLIN)
        self.accepting = True

    def run(self) -> None:
        """Serve for ever; an exception (of a signal handler) ends it. Closes every connection then."""
        try:
            while True:
                self.turn()
        finally:
            for connection in list(self.connections.values()):
                self.close(connection)
            self.epoll.close()

    def turn(self) -> None:
        """Wait for events and serve them. Sleeps without a limit when there is no connection."""
        timeout = max(0.0, self.next_tick - self.now) if self.connections or not self.accepting else None
        events = self.epoll.poll(timeout)
        self.now = time.monotonic()
        connections = self.connections
        for fd, event in events:
            connection = connections.get(fd)
            if connection is None:
                if fd == self.listener.fileno():
                    self.accept()
            elif event & select.EPOLLERR:
                self.stats.errors += 1
                self.close(connection)
            elif connection.writing:
                if self.flush(connection):
                    self.serve(connection)
            else:
                self.read(connection)
        # Last, so that a descriptor that it closes has no event left in this batch.
        if self.now >= self.next_tick:
            self.tick()

    def tick(self) -> None:
        """Once a second: a new Date, and what took too long is over."""
        self.next_tick = self.now + 1.0
        self.responder.set_date(time.time())
        for connection in [c for c in self.connections.values() if c.deadline <= self.now]:
            self.expire(connection)
        if not self.accepting and len(self.connections) < self.limit:
            self.epoll.modify(self.listener.fileno(), select.EPOLLIN)
            self.accepting = True

    def expire(self, connection: Connection) -> None:
        self.stats.timeouts += 1
        if connection.inbuf and not connection.writing and not connection.draining:
            self.queue(connection, self.responder.error(HttpError(408, "the request took too long")))
            self.flush(connection)
        else:
            self.close(connection)

    def accept(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if len(self.connections) >= self.limit:
                self.pause()
                return
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.pause()
                    return
                continue  # a connection that was over before it was accepted
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self.now + IDLE_SECONDS)
            self.connections[connection.fd] = connection
            self.epoll.register(connection.fd, select.EPOLLIN)
            self.stats.accepted += 1

    def pause(self) -> None:
        """Leave new connections in the backlog until the next tick."""
        self.epoll.modify(self.listener.fileno(), 0)
        self.accepting = False

    def read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.stats.errors += 1
            self.close(connection)
            return
        if not data:
            self.close(connection)
            return
        if connection.draining:
            return
        if connection.inbuf or connection.skip:
            connection.inbuf += data
        else:
            connection.deadline = self.now + HEAD_SECONDS
            connection.inbuf = data
        self.serve(connection)

    def serve(self, connection: Connection) -> None:
        """Answer and write until there is nothing to answer, no room, or this turn's share is used up."""
        for _ in range(ROUNDS_A_TURN):
            self.gather(connection)
            if not connection.out and connection.rest is None:
                return
            if not self.flush(connection):
                return
        self.wait_for(connection, writing=True)

    def gather(self, connection: Connection) -> None:
        """Queue the answers to the requests that are there, up to a size; keep what is left of the input."""
        data = connection.inbuf
        while data and connection.rest is None and connection.keep_alive and len(connection.out) < JOIN_BYTES:
            if connection.skip:
                skipped = min(connection.skip, len(data))
                connection.skip -= skipped
                data = data[skipped:]
                continue
            if data[:2] == b"\r\n":  # RFC 9112 §2.2: an empty line before a request line is ignored
                data = data[2:]
                continue
            try:
                size = find_head(data)
                if size == 0:
                    break
                self.answer(connection, data[:size])
            except HttpError as error:
                self.queue(connection, self.responder.error(error))
                break
            data = data[size:]
        connection.inbuf = data if connection.keep_alive else b""

    def answer(self, connection: Connection, head: bytes) -> None:
        """Queue the response to one request. HttpError when it is not acceptable."""
        try:
            request = parse(head)
        except HttpError as error:
            if error.close:
                raise
            return self.queue(connection, self.responder.error(error))
        connection.skip = request.body_bytes
        return self.queue(connection, self.responder.answer(request))

    def queue(self, connection: Connection, response: Response) -> None:
        self.stats.count(response.status)
        connection.out = bytes(connection.out) + response.data if connection.out else response.data
        connection.rest = response.rest
        connection.keep_alive = response.keep_alive

    def flush(self, connection: Connection) -> bool:
        """Write what is queued. True when all of it is written and the connection goes on."""
        try:
            done = self.write(connection)
        except (BlockingIOError, InterruptedError):
            done = False
        except OSError:
            self.stats.errors += 1
            self.close(connection)
            return False
        if done is None:
            self.close(connection)
            return False
        self.wait_for(connection, writing=not done)
        if done and not connection.keep_alive:
            self.finish(connection)
            return False
        if done:
            connection.deadline = self.now + (
                HEAD_SECONDS if connection.inbuf or connection.skip else IDLE_SECONDS
            )
        return done

    def wait_for(self, connection: Connection, *, writing: bool) -> None:
        if writing != connection.writing:
            connection.writing = writing
            self.epoll.modify(connection.fd, select.EPOLLOUT if writing else select.EPOLLIN)

    def write(self, connection: Connection) -> bool | None:
        """True when all is written, False when this turn's share is; None when the file ended too early.

        BlockingIOError when there is no room. A file goes through a buffer: with a mapping, whoever truncates
        the file would end this process with SIGBUS."""
        for _ in range(CHUNKS_A_TURN):
            if connection.out:
                sent = connection.sock.send(connection.out)
                self.stats.bytes_sent += sent
                connection.deadline = self.now + STALL_SECONDS
                if sent < len(connection.out):
                    connection.out = memoryview(connection.out)[sent:]
                    return False
                connection.out = b""
            if connection.rest is None:
                return True
            part = connection.rest
            if part.offset == part.end:
                self.release(connection)
                return True
            if connection.chunk is None:
                connection.chunk = bytearray(CHUNK_BYTES)
            view = memoryview(connection.chunk)[: part.end - part.offset]
            got = os.preadv(part.fd, [view], part.offset)
            if got == 0:
                return None
            connection.out = view[:got]
            connection.rest = part._replace(offset=part.offset + got)
        return False

    def finish(self, connection: Connection) -> None:
        """Say goodbye, then wait a little for the client's: closing with unread input would reset the
        connection and could take the response with it (RFC 9112 §9.6)."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(connection)
            return
        connection.draining = True
        connection.deadline = self.now + LINGER_SECONDS

    def release(self, connection: Connection) -> None:
        if connection.rest is not None:
            os.close(connection.rest.fd)
        connection.rest = connection.chunk = None

    def close(self, connection: Connection) -> None:
        self.release(connection)
        del self.connections[connection.fd]
        with contextlib.suppress(OSError):
            self.epoll.unregister(connection.fd)
        connection.sock.close()
