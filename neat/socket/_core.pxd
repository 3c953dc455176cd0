"""What `neat.socket._data` needs of a socket: its state, and moving bytes with Python's timeouts and
signals."""
from libc.stdint cimport int64_t
from neat.shim.client cimport iovec, msghdr, neat_socket, sockaddr_in, socklen_t

cdef enum:
    SMALL = 65536                   # bytes that are moved without giving the GIL away
    MAX_BUFFERS = 1024

cdef class Socket:
    cdef neat_socket* handle        # NULL when closed
    cdef int fd
    cdef int64_t limit              # ns; -1: none, 0: non-blocking
    cdef readonly int _family, _type
    cdef readonly int proto
    cdef object __weakref__

    cdef void _take(self, Socket other)
    cdef int check(self) except -1
    # After a call returned `status`: returns when it may be tried again, else raises. *deadline: 0 at first.
    cdef int again(self, int status, short events, int64_t* deadline) except -1
    cdef int _connect(self, object address) except? -1000
    cdef int ready(self) except -1
    # Bytes moved. sender may get the peer's address, its size in *length; `to` is NULL on connected sockets.
    cdef Py_ssize_t _recv(
        self, char* data, Py_ssize_t size, int flags, sockaddr_in* sender, socklen_t* length
    ) except -1
    cdef Py_ssize_t _send(
        self, const char* data, Py_ssize_t size, int flags, sockaddr_in* to, int64_t* deadline
    ) except -1
    # `control`: `room` bytes for control messages, when receiving.
    cdef Py_ssize_t _move_message(
        self, msghdr* message, sockaddr_in* peer, bint named, iovec* parts, Py_ssize_t count, char* control,
        size_t room, int flags, bint sending, int64_t* deadline
    ) except -1
