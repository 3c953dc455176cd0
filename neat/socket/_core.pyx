"""One NEaT socket as a Python object: the client core's calls, with Python's timeouts, signals and errors.

As in CPython: a timeout makes the descriptor non-blocking, and a call waits for it itself; EINTR runs signal
handlers and goes on (PEP 475). The GIL is held only to move what is there already and small.
"""

import errno as _errno
import os
import socket as _std

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EALREADY, EINPROGRESS, EINTR, EISCONN
from libc.stdint cimport int64_t
from libc.string cimport memset
from neat.shim.client cimport (
    AF_INET, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, NEAT_MSG_RINGS, SOCK_CLOEXEC, SOCK_NONBLOCK,
    SOCK_STREAM, SOL_SOCKET, SO_ERROR, iovec, msghdr, neat_accept, neat_bind, neat_client_stats, neat_close,
    neat_connect, neat_dup, neat_get, neat_getpeername, neat_getsockname, neat_getsockopt, neat_inq,
    neat_listen, neat_open, neat_outq, neat_put, neat_recvfrom, neat_recvmsg, neat_send, neat_sendfile,
    neat_sendmsg, neat_sendto, neat_setsockopt, neat_shutdown, neat_socket, neat_stats, neat_wait, sockaddr,
    sockaddr_in, socklen_t,
)
from neat.socket._address cimport make_address, parse_address

cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    int F_GETFL, F_SETFL, O_NONBLOCK

cdef extern from "<poll.h>" nogil:
    int POLLIN, POLLOUT

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* at)
    int CLOCK_MONOTONIC

# Descriptors that detach() let go of: socket(fileno=...) finds them here.
_detached = {}

cdef int64_t monotonic() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1000000000 + at.tv_nsec


cdef object error(int status):
    """The OSError of a negative errno."""
    cdef int number = -status
    if number == _errno.ENETDOWN:
        where = "no NEaT stack is running here (NEAT_STACK, NEAT_RUN_DIR)"
        return OSError(number, f"{where}: start one with `neat up`")
    return OSError(number, os.strerror(number))


def stats():
    """What the client core of this process has met, as a dict of counters."""
    cdef neat_client_stats s
    neat_stats(&s)
    return dict(s)


cdef class Socket:
    """What `_socket.socket` is to the standard library's `socket.socket`."""

    def __cinit__(self, *args, **kwargs):
        self.handle = NULL
        self.fd = -1
        self.limit = -1

    def __init__(self, int family=-1, int type=-1, int proto=-1, fileno=None):
        cdef int status
        cdef Socket other
        if fileno is not None:
            if not isinstance(fileno, int):
                raise TypeError(f"an integer is required, not {fileno.__class__.__name__}")
            other = _detached.pop(fileno, None)
            if other is None:
                raise OSError(_errno.EBADF, f"descriptor {fileno} is not a detached NEaT socket")
            self._take(other)
            return
        family = AF_INET if family == -1 else family
        type = SOCK_STREAM if type == -1 else type
        proto = 0 if proto == -1 else proto
        status = neat_open(family, type | SOCK_CLOEXEC, proto, &self.handle)
        if status < 0:
            raise error(status)
        self.fd = status
        self._family = family
        self._type = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)
        self.proto = proto
        default = _std.getdefaulttimeout()
        if type & SOCK_NONBLOCK:
            self.limit = 0
        elif default is not None:
            self.settimeout(default)

    def __dealloc__(self):
        if self.handle != NULL:
            neat_close(self.handle, self.fd)

    cdef void _take(self, Socket other):
        self.handle, other.handle = other.handle, NULL
        self.fd, other.fd = other.fd, -1
        self.limit = other.limit
        self._family, self._type, self.proto = other._family, other._type, other.proto

    cdef int check(self) except -1:
        if self.handle == NULL:
            raise OSError(_errno.EBADF, os.strerror(_errno.EBADF))
        return 0

    # Waiting.

    cdef int again(self, int status, short events, int64_t* deadline) except -1:
        """After a call returned `status`: returns when it may be tried again, else raises."""
        cdef int64_t left = -1
        cdef int got
        cdef int fd = self.fd
        if status == -EINTR:
            PyErr_CheckSignals()
            return self.check()
        if status != -EAGAIN or self.limit == 0:
            raise error(status)
        while True:
            if self.limit > 0:
                if deadline[0] == 0:
                    deadline[0] = monotonic() + self.limit
                left = deadline[0] - monotonic()
                if left <= 0:
                    raise TimeoutError("timed out")
            elif deadline[0] == 0:
                raise error(status)         # SO_RCVTIMEO or SO_SNDTIMEO is over
            with nogil:
                got = neat_wait(fd, events, left)
            if got == -EINTR:
                PyErr_CheckSignals()
                self.check()
                continue
            if got < 0:
                raise error(got)
            if got:
                return 0

    def settimeout(self, value):
        cdef int flags
        if value is None:
            limit = -1
        else:
            value = value + 0.0
            if value < 0:
                raise ValueError("Timeout value out of range")
            limit = int(value * 1e9)
            if value > 0 and limit == 0:
                limit = 1
        self.check()
        flags = fcntl(self.fd, F_GETFL)
        fcntl(self.fd, F_SETFL, (flags & ~O_NONBLOCK) if limit < 0 else (flags | O_NONBLOCK))
        self.limit = limit

    def gettimeout(self):
        return None if self.limit < 0 else self.limit / 1e9

    def setblocking(self, flag):
        self.settimeout(None if flag else 0.0)

    def getblocking(self):
        return self.limit != 0

    @property
    def timeout(self):
        return self.gettimeout()

    def fileno(self):
        return self.fd

    def _bare_close(self):
        cdef int status
        cdef neat_socket* handle = self.handle
        cdef int fd = self.fd
        if handle != NULL:
            self.handle = NULL
            self.fd = -1
            with nogil:
                status = neat_close(handle, fd)
            if status < 0:
                raise error(status)

    def _bare_detach(self):
        cdef Socket other
        cdef int fd = self.fd
        if self.handle != NULL:
            other = Socket.__new__(Socket)
            other._take(self)
            _detached[fd] = other
        return fd

    def _bare_dup(self, Socket into):
        """Make `into` a second descriptor of this socket."""
        self.check()
        into.fd = os.dup(self.fd)
        into.handle = neat_dup(self.handle)
        into.limit = self.limit
        into._family, into._type, into.proto = self._family, self._type, self.proto

    # Set-up.

    def bind(self, address, /):
        cdef sockaddr_in at
        cdef int status
        self.check()
        parse_address(address, &at)
        cdef neat_socket* s = neat_get(self.handle)
        cdef int fd = self.fd
        with nogil:
            status = neat_bind(s, fd, <sockaddr*>&at, sizeof(at))
            neat_put(s)
        if status < 0:
            raise error(status)

    def listen(self, int backlog=128, /):
        cdef int status
        self.check()
        cdef neat_socket* s = neat_get(self.handle)
        cdef int fd = self.fd
        with nogil:
            status = neat_listen(s, fd, backlog if backlog > 0 else 0)
            neat_put(s)
        if status < 0:
            raise error(status)

    def _bare_accept(self, Socket into):
        """Make `into` the next connection; returns the peer's address."""
        cdef sockaddr_in at
        cdef socklen_t length
        cdef int status, fd
        cdef int64_t deadline = 0
        cdef neat_socket* s
        cdef neat_socket* new = NULL
        while True:
            self.check()
            length = sizeof(at)
            s = neat_get(self.handle)
            fd = self.fd
            with nogil:
                status = neat_accept(s, fd, <sockaddr*>&at, &length, SOCK_CLOEXEC, &new)
                neat_put(s)
            if status >= 0:
                break
            self.again(status, POLLIN, &deadline)
        into.handle = new
        into.fd = status
        into._family, into._type, into.proto = self._family, self._type, self.proto
        return make_address(&at, length)

    cdef int _connect(self, object address) except? -1000:
        """0 or a negative errno; TimeoutError is raised."""
        cdef sockaddr_in at
        cdef int status, fd
        cdef int value = 0
        cdef socklen_t length
        cdef int64_t deadline = 0
        cdef neat_socket* s
        self.check()
        parse_address(address, &at)
        while True:
            self.check()
            s = neat_get(self.handle)
            fd = self.fd
            with nogil:
                status = neat_connect(s, fd, <sockaddr*>&at, sizeof(at))
                neat_put(s)
            if status == -EINTR:
                PyErr_CheckSignals()
                continue
            if status == -EISCONN and deadline:
                return 0
            if (status != -EINPROGRESS and not (status == -EALREADY and deadline)) or self.limit <= 0:
                return status
            self.again(-EAGAIN, POLLOUT, &deadline)
            length = sizeof(value)
            status = neat_getsockopt(self.handle, self.fd, SOL_SOCKET, SO_ERROR, &value, &length)
            if status < 0 or value:
                return status if status < 0 else -value

    def connect(self, address, /):
        cdef int status = self._connect(address)
        if status < 0:
            raise error(status)

    def connect_ex(self, address, /):
        try:
            return -self._connect(address)
        except TimeoutError:
            return EAGAIN

    def shutdown(self, int how, /):
        self.check()
        cdef int status = neat_shutdown(self.handle, self.fd, how)
        if status < 0:
            raise error(status)

    # Moving bytes.

    cdef int ready(self) except -1:
        """Bytes that can be read now."""
        self.check()
        return neat_inq(self.handle)

    cdef Py_ssize_t _recv(
        self, char* data, Py_ssize_t size, int flags, sockaddr_in* sender, socklen_t* length
    ) except -1:
        cdef ssize_t got
        cdef int64_t deadline = 0
        cdef neat_socket* s
        cdef int fd
        cdef socklen_t room = length[0]
        self.check()
        if size <= SMALL and not flags & MSG_WAITALL:
            got = neat_recvfrom(
                self.handle, self.fd, data, size, flags | NEAT_MSG_RINGS, <sockaddr*>sender, length
            )
            if got >= 0:
                return got
            if got != -EAGAIN:
                raise error(got)
            if self.limit > 0 and not flags & MSG_DONTWAIT:
                self.again(got, POLLIN, &deadline)
        while True:
            self.check()
            s = neat_get(self.handle)
            fd = self.fd
            length[0] = room
            with nogil:
                got = neat_recvfrom(s, fd, data, size, flags, <sockaddr*>sender, length)
                neat_put(s)
            if got >= 0:
                return got
            if got == -EAGAIN and flags & MSG_DONTWAIT:
                raise error(got)
            self.again(got, POLLIN, &deadline)

    cdef Py_ssize_t _send(
        self, const char* data, Py_ssize_t size, int flags, sockaddr_in* to, int64_t* deadline
    ) except -1:
        cdef ssize_t sent
        cdef neat_socket* s
        cdef int fd
        cdef socklen_t length = sizeof(sockaddr_in) if to != NULL else 0
        flags |= MSG_NOSIGNAL
        self.check()
        if size <= SMALL and self._type == SOCK_STREAM:
            sent = neat_send(self.handle, self.fd, data, size, flags | NEAT_MSG_RINGS)
            if sent >= 0 and (sent == size or self.limit != -1):
                return sent
            if sent < 0 and sent != -EAGAIN:
                raise error(sent)
            if sent > 0:
                data += sent
                size -= sent
                try:
                    return sent + self._send(data, size, flags, to, deadline)
                except OSError:
                    return sent
        while True:
            self.check()
            s = neat_get(self.handle)
            fd = self.fd
            with nogil:
                sent = neat_sendto(s, fd, data, size, flags, <sockaddr*>to, length)
                neat_put(s)
            if sent >= 0:
                return sent
            if sent == -EAGAIN and flags & MSG_DONTWAIT:
                raise error(sent)
            self.again(sent, POLLOUT, deadline)

    cdef Py_ssize_t _move_message(
        self, msghdr* message, sockaddr_in* peer, bint named, iovec* parts, Py_ssize_t count, char* control,
        size_t room, int flags, bint sending, int64_t* deadline
    ) except -1:
        cdef ssize_t moved
        cdef neat_socket* s
        cdef int fd
        while True:
            self.check()
            memset(message, 0, sizeof(msghdr))
            message.msg_name = <void*>peer if named else NULL
            message.msg_namelen = sizeof(sockaddr_in) if named else 0
            message.msg_iov = parts
            message.msg_iovlen = count
            message.msg_control = control
            message.msg_controllen = room
            s = neat_get(self.handle)
            fd = self.fd
            with nogil:
                if sending:
                    moved = neat_sendmsg(s, fd, message, flags)
                else:
                    moved = neat_recvmsg(s, fd, message, flags)
                neat_put(s)
            if moved >= 0:
                return moved
            if moved == -EAGAIN and flags & MSG_DONTWAIT:
                raise error(moved)
            self.again(moved, POLLOUT if sending else POLLIN, deadline)

    def _sendfile_from(self, int file, offset, count):
        """Bytes of a regular file from `offset`, read straight into the ring; how many."""
        cdef int64_t at = offset, deadline = 0, start = offset
        cdef int64_t end = offset + count
        cdef ssize_t sent
        cdef neat_socket* s
        cdef int fd
        while at < end:
            self.check()
            s = neat_get(self.handle)
            fd = self.fd
            with nogil:
                sent = neat_sendfile(s, fd, file, &at, end - at)
                neat_put(s)
            if sent == 0:
                break
            if sent < 0:
                try:
                    self.again(sent, POLLOUT, &deadline)
                except BlockingIOError:
                    if at == start:
                        raise
                    break
        return at - start

    # Options and names.

    def getsockopt(self, int level, int optname, int buflen=0, /):
        cdef char room[1024]
        cdef int value = 0
        cdef socklen_t length
        cdef int status
        self.check()
        if buflen == 0:
            length = sizeof(value)
            status = neat_getsockopt(self.handle, self.fd, level, optname, &value, &length)
            if status < 0:
                raise error(status)
            return value
        if not 0 < buflen <= <int>sizeof(room):
            raise OSError("getsockopt buflen out of range")
        length = buflen
        status = neat_getsockopt(self.handle, self.fd, level, optname, room, &length)
        if status < 0:
            raise error(status)
        return room[:length]

    def setsockopt(self, int level, int optname, value, optlen=None, /):
        cdef int number, status
        cdef Py_buffer view
        self.check()
        if isinstance(value, int):
            number = value
            status = neat_setsockopt(self.handle, self.fd, level, optname, &number, sizeof(number))
        elif value is None:
            status = neat_setsockopt(self.handle, self.fd, level, optname, NULL, optlen or 0)
        else:
            PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
            status = neat_setsockopt(self.handle, self.fd, level, optname, view.buf, view.len)
            PyBuffer_Release(&view)
        if status < 0:
            raise error(status)

    def getsockname(self):
        cdef sockaddr_in at
        cdef socklen_t length = sizeof(at)
        self.check()
        cdef int status = neat_getsockname(self.handle, <sockaddr*>&at, &length)
        if status < 0:
            raise error(status)
        return make_address(&at, length)

    def getpeername(self):
        cdef sockaddr_in at
        cdef socklen_t length = sizeof(at)
        self.check()
        cdef int status = neat_getpeername(self.handle, <sockaddr*>&at, &length)
        if status < 0:
            raise error(status)
        return make_address(&at, length)

    def inq(self):
        """Bytes that can be read now (FIONREAD)."""
        self.check()
        return neat_inq(self.handle)

    def outq(self):
        """Bytes that the peer has not acknowledged (SIOCOUTQ)."""
        self.check()
        return neat_outq(self.handle)
