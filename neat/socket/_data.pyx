"""Sending and receiving: the methods of a socket that move bytes, over buffers of Python."""
import errno as _errno
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from neat.shim.client cimport (
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, MSG_NOSIGNAL, MSG_WAITALL, SOCK_STREAM, cmsghdr, iovec,
    msghdr, sockaddr_in, socklen_t,
)
from neat.socket._address cimport make_address, parse_address
from neat.socket._core cimport MAX_BUFFERS, SMALL, Socket


cdef list control_messages(msghdr* message):
    """(level, type, data) of each."""
    cdef list found = []
    cdef cmsghdr* at = CMSG_FIRSTHDR(message)
    while at != NULL and at.cmsg_len >= CMSG_LEN(0):
        data = PyBytes_FromStringAndSize(<char*>CMSG_DATA(at), at.cmsg_len - CMSG_LEN(0))
        found.append((at.cmsg_level, at.cmsg_type, data))
        at = CMSG_NXTHDR(message, at)
    return found


cdef class DataSocket(Socket):
    """The rest of what `_socket.socket` is to the standard library."""

    # Receiving.

    cdef tuple _recv_bytes(self, Py_ssize_t size, int flags):
        cdef sockaddr_in sender
        cdef socklen_t length = sizeof(sender)
        cdef Py_ssize_t got, room = size
        cdef bytes data
        if size < 0:
            raise ValueError("negative buffersize in recv")
        if self._type == SOCK_STREAM and not flags & MSG_WAITALL:
            # What is there decides how much is allocated; nothing: the most that a wake-up usually finds.
            got = self.ready()
            room = min(size, got if got > 0 else min(size, SMALL))
        data = PyBytes_FromStringAndSize(NULL, room)
        got = self._recv(PyBytes_AS_STRING(data), room, flags, &sender, &length)
        return (data if got == room else data[:min(got, room)]), make_address(&sender, length)

    def recv(self, Py_ssize_t bufsize, int flags=0, /):
        return self._recv_bytes(bufsize, flags)[0]

    def recvfrom(self, Py_ssize_t bufsize, int flags=0, /):
        return self._recv_bytes(bufsize, flags)

    def recvfrom_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
        cdef Py_buffer view
        cdef sockaddr_in sender
        cdef socklen_t length = sizeof(sender)
        if nbytes < 0:
            raise ValueError("negative buffersize in recvfrom_into")
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if nbytes > view.len:
                raise ValueError("buffer too small for requested bytes")
            got = self._recv(<char*>view.buf, nbytes or view.len, flags, &sender, &length)
        finally:
            PyBuffer_Release(&view)
        return got, make_address(&sender, length)

    def recv_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvmsg_into(self, buffers, Py_ssize_t ancbufsize=0, int flags=0, /):
        return self._message([*buffers], None, flags, False, ancbufsize)

    def recvmsg(self, Py_ssize_t bufsize, Py_ssize_t ancbufsize=0, int flags=0, /):
        data = bytearray(bufsize)
        got, ancillary, message_flags, address = self._message([data], None, flags, False, ancbufsize)
        return bytes(data[:got]), ancillary, message_flags, address

    # Sending.

    def send(self, data, int flags=0, /):
        cdef Py_buffer view
        cdef int64_t deadline = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self._send(<const char*>view.buf, view.len, flags, NULL, &deadline)
        finally:
            PyBuffer_Release(&view)

    def sendall(self, data, int flags=0, /):
        cdef Py_buffer view
        cdef int64_t deadline = 0
        cdef Py_ssize_t done = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while True:
                done += self._send(<const char*>view.buf + done, view.len - done, flags, NULL, &deadline)
                if done >= view.len:
                    return
                PyErr_CheckSignals()
        finally:
            PyBuffer_Release(&view)

    def sendto(self, data, *args):
        cdef Py_buffer view
        cdef sockaddr_in to
        cdef int64_t deadline = 0
        if len(args) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        cdef int flags = args[0] if len(args) == 2 else 0
        parse_address(args[len(args) - 1], &to)
        cdef sockaddr_in* peer = NULL if self._type == SOCK_STREAM else &to
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self._send(<const char*>view.buf, view.len, flags, peer, &deadline)
        finally:
            PyBuffer_Release(&view)

    def sendmsg(self, buffers, ancdata=(), int flags=0, address=None, /):
        if list(ancdata):
            raise OSError(_errno.EINVAL, "ancillary data is not supported")
        parts = [memoryview(b).cast("B") for b in buffers]
        return self._message(parts, address, flags | MSG_NOSIGNAL, True, 0)

    def _message(self, list buffers, address, int flags, bint sending, Py_ssize_t room):
        """sendmsg: bytes sent; recvmsg: (bytes, control messages in `room` bytes, flags, address)."""
        cdef msghdr message
        cdef sockaddr_in peer
        cdef iovec* parts
        cdef Py_buffer* views
        cdef Py_ssize_t count = len(buffers), taken = 0
        cdef ssize_t moved
        cdef int64_t deadline = 0
        cdef bytearray control
        if room < 0:
            raise ValueError("invalid ancillary data buffer length")
        control = bytearray(room)
        if count > MAX_BUFFERS:
            raise OSError(_errno.EMSGSIZE, os.strerror(_errno.EMSGSIZE))
        memset(&peer, 0, sizeof(peer))
        if address is not None:
            parse_address(address, &peer)
        parts = <iovec*>malloc((count + 1) * sizeof(iovec))
        views = <Py_buffer*>malloc((count + 1) * sizeof(Py_buffer))
        try:
            if parts == NULL or views == NULL:
                raise MemoryError
            for buffer in buffers:
                PyObject_GetBuffer(buffer, &views[taken], PyBUF_SIMPLE | (0 if sending else PyBUF_WRITABLE))
                parts[taken].iov_base = views[taken].buf
                parts[taken].iov_len = views[taken].len
                taken += 1
            moved = self._move_message(&message, &peer, address is not None or not sending, parts, count,
                                       PyByteArray_AS_STRING(control), room, flags, sending, &deadline)
        finally:
            for i in range(taken):
                PyBuffer_Release(&views[i])
            free(views)
            free(parts)
        if sending:
            return moved
        return moved, control_messages(&message), message.msg_flags, make_address(&peer, message.msg_namelen)
