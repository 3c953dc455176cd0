"""The control socket: one JSON request a line, one JSON reply a line, several clients at once, none of
which can block us.

A reply is {"ok": true, ...} or {"ok": false, "error": "one line"}. A handler returns the reply, or a
`Task`: a generator that yields conditions to wait for and returns the reply.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
Waiting: TypeAlias = Generator[Callable[[], bool], None, Result]  # yields conditions, and returns this
Reply = dict[str, Any]
Task = Waiting[Reply]
Handler = Callable[[dict[str, Any]], Reply | Task]

MAX_REQUEST = 65_536
# What the values of a request that nobody thought of can raise, if they pass where they are looked at.
NONSENSE = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class CommandError(Exception):
    """What was asked can't be done; the text is for the user."""


def until(condition: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """A condition to yield: true when `condition` is, or when the time is up. The task looks which it was."""
    deadline = time.monotonic() + seconds
    return lambda: condition() or time.monotonic() >= deadline


def refusal(error: Exception) -> Reply:
    """Its one line."""
    line = " ".join(str(error).split())
    return {"ok": False, "error": line if isinstance(error, CommandError) else f"bad request: {line}"}


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.to_send = b""
        self.task: Task | None = None
        self.waiting_for: Callable[[], bool] = lambda: True


class ControlServer:
    """Clients of the listening socket `fd`, on somebody else's selector."""

    def __init__(self, fd: int, selector: selectors.BaseSelector, handle: Handler) -> None:
        self.listener = socket.socket(fileno=fd)
        self.listener.setblocking(False)
        self.selector = selector
        self.handle = handle
        self.clients: list[Client] = []
        selector.register(self.listener, selectors.EVENT_READ, self._on_connection)

    @property
    def busy(self) -> bool:
        """A task waits for something: call `advance` at least every few ms."""
        return any(client.task is not None for client in self.clients)

    def advance(self) -> None:
        """Go on with every task whose condition came true."""
        for client in list(self.clients):
            if client.task is not None and client.waiting_for():
                self._run(client)

    def flush(self) -> None:
        """Send what is left, blocking for at most a second a client: before this process ends."""
        for client in self.clients:
            client.sock.settimeout(1)
            try:
                client.sock.sendall(client.to_send)
            except OSError:
                continue

    def _on_connection(self) -> None:
        try:
            sock, _address = self.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        client = Client(sock)
        self.clients.append(client)
        self.selector.register(sock, selectors.EVENT_READ, lambda: self._on_client(client))

    def _on_client(self, client: Client) -> None:
        try:
            data = client.sock.recv(MAX_REQUEST)
            if not data:
                raise ConnectionResetError
            client.received += data
        except BlockingIOError:
            pass
        except OSError:
            self._close(client)
            return
        if client.to_send:
            self._send(client)
        self._next_request(client)

    def _next_request(self, client: Client) -> None:
        """Begin the next request, unless the one before is not answered yet."""
        while client.task is None and b"\n" in client.received:
            line, _, client.received = client.received.partition(b"\n")
            result: Reply | Task
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise ValueError("a request is a JSON object")
                result = self.handle(request)
            except (CommandError, *NONSENSE) as error:
                result = refusal(error)
            if isinstance(result, dict):
                self._reply(client, result)
            else:
                client.task = result
                self._run(client)
        if len(client.received) > MAX_REQUEST:
            self._reply(client, refusal(ValueError(f"longer than {MAX_REQUEST} bytes")))
            self._close(client)

    def _run(self, client: Client) -> None:
        assert client.task is not None
        try:
            client.waiting_for = next(client.task)
            return
        except StopIteration as end:
            reply = end.value
        except (CommandError, *NONSENSE) as error:
            reply = refusal(error)
        client.task = None
        self._reply(client, reply)
        self._next_request(client)

    def _reply(self, client: Client, reply: Reply) -> None:
        client.to_send += json.dumps({"ok": True} | reply).encode() + b"\n"
        self._send(client)

    def _send(self, client: Client) -> None:
        try:
            sent = client.sock.send(client.to_send)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(client)
            return
        client.to_send = client.to_send[sent:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.to_send else 0)
        self.selector.modify(client.sock, events, lambda: self._on_client(client))

    def _close(self, client: Client) -> None:
        if client in self.clients:
            self.clients.remove(client)
            self.selector.unregister(client.sock)
            client.sock.close()
            if client.task is not None:
                client.task.close()
