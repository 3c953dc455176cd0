"""`neat.socket.socket`: the standard library's socket class over NEaT, and its helpers."""

import io
import os
import socket as _std
import stat
from typing import Any

from neat.socket._data import DataSocket

_standard: Any = _std.socket


class socket(DataSocket):
    """A TCP or UDP socket of a NEaT stack, with the interface of `socket.socket`.

    Its descriptor is real: select, poll, epoll, selectors and asyncio take it. `fileno=` accepts what
    detach() returned.
    """

    __slots__ = ["_closed", "_io_refs"]

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        self._closed = False
        self._io_refs = 0
        super().__init__(family, type, proto, fileno)

    @classmethod
    def _blank(cls) -> "socket":
        new = cls.__new__(cls)
        new._closed = False
        new._io_refs = 0
        return new

    def __enter__(self) -> "socket":
        return self

    def __exit__(self, *_args: object) -> None:
        if not self._closed:
            self.close()

    def __repr__(self) -> str:
        text = f"<neat.socket.socket fd={self.fileno()}, family={self.family!s}"
        text += f", type={self.type!s}, proto={self.proto}"
        for name in ("getsockname", "getpeername"):
            try:
                text += f", {'laddr' if name == 'getsockname' else 'raddr'}={getattr(self, name)()}"
            except OSError:
                continue
        return text + ">"

    def __getstate__(self) -> Any:
        raise TypeError(f"cannot pickle {self.__class__.__name__!r} object")

    @property
    def family(self) -> _std.AddressFamily:
        return _std.AddressFamily(self._family)

    @property
    def type(self) -> _std.SocketKind:
        return _std.SocketKind(self._type)

    def accept(self) -> tuple["socket", Any]:
        new = self._blank()
        address = self._bare_accept(new)
        default = _std.getdefaulttimeout()
        if default is not None:
            new.settimeout(default)
        return new, address

    def dup(self) -> "socket":
        new = self._blank()
        self._bare_dup(new)
        return new

    # These work on any object with our methods, so they are the standard library's own.
    makefile = _standard.makefile
    _decref_socketios = _standard._decref_socketios
    _check_sendfile_params = _standard._check_sendfile_params
    _sendfile_use_send = _standard._sendfile_use_send
    get_inheritable = _standard.get_inheritable
    set_inheritable = _standard.set_inheritable

    def _real_close(self) -> None:
        self._bare_close()

    def close(self) -> None:
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def detach(self) -> int:
        self._closed = True
        return self._bare_detach()

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file until EOF or `count` bytes; a regular one goes from the page cache straight into the
        ring."""
        self._check_sendfile_params(file, offset, count)
        try:
            descriptor = file.fileno()
            info = os.fstat(descriptor)
        except (AttributeError, io.UnsupportedOperation, OSError):
            return self._sendfile_use_send(file, offset, count)
        if not stat.S_ISREG(info.st_mode):
            return self._sendfile_use_send(file, offset, count)
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        room = max(info.st_size - offset, 0)
        sent = self._sendfile_from(descriptor, offset, room if count is None else min(count, room))
        file.seek(offset + sent)
        return sent


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """A socket from a descriptor that detach() returned."""
    return socket(family, type, proto, fileno=fd)


def create_connection(
    address: tuple[str, int],
    timeout: Any = _std._GLOBAL_DEFAULT_TIMEOUT,  # type: ignore[attr-defined]
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket:
    """As socket.create_connection, over IPv4."""
    host, port = address
    errors: list[OSError] = []
    for family, kind, proto, _name, at in _std.getaddrinfo(host, port, _std.AF_INET, _std.SOCK_STREAM):
        sock = socket(family, kind, proto)
        try:
            if timeout is not _std._GLOBAL_DEFAULT_TIMEOUT:  # type: ignore[attr-defined]
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(at)
            return sock
        except OSError as error:
            errors.append(error)
            sock.close()
    if not errors:
        raise OSError("getaddrinfo returns an empty list")
    raise ExceptionGroup("create_connection failed", errors) if all_errors else errors[0]


def create_server(
    address: tuple[str, int],
    *,
    family: int = _std.AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """As socket.create_server: bound, listening, SO_REUSEADDR set."""
    if dualstack_ipv6:
        raise ValueError("dualstack_ipv6 not supported on this platform")
    sock = socket(family, _std.SOCK_STREAM)
    try:
        sock.setsockopt(_std.SOL_SOCKET, _std.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(_std.SOL_SOCKET, _std.SO_REUSEPORT, 1)
        try:
            sock.bind(address)
        except OSError as error:
            text = f"{error.strerror} (while attempting to bind on address {address!r})"
            raise OSError(error.errno, text) from None
        sock.listen(min(_std.SOMAXCONN, 128) if backlog is None else backlog)
        return sock
    except OSError:
        sock.close()
        raise


class ServerMixin:
    """Put before a socketserver class to serve on NEaT:
    `class Server(ServerMixin, http.server.ThreadingHTTPServer): pass`."""

    def __init__(self, server_address: Any, handler: Any, bind_and_activate: bool = True) -> None:
        super().__init__(server_address, handler, bind_and_activate=False)  # type: ignore[call-arg]
        self.socket.close()  # type: ignore[has-type]
        self.socket = socket(self.address_family, self.socket_type)  # type: ignore[attr-defined]
        if bind_and_activate:
            try:
                self.server_bind()  # type: ignore[attr-defined]
                self.server_activate()  # type: ignore[attr-defined]
            except BaseException:
                self.server_close()  # type: ignore[attr-defined]
                raise
