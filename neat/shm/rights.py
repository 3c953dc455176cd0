"""Descriptors on their way through a unix socket (SCM_RIGHTS), which nobody will ever receive.

The stack reads nothing but its own tokens from its ends of applications' sockets. A descriptor that an
application has put there is held by nobody, but the kernel cannot know: it sees a queue that a living process
might read (unix(7)). If it is the socket's own other end, or part of a circle, it would never hang up.
"""

import array
import contextlib
import os
import socket

MOST = 1024  # messages in one go
_FIELD = b"scm_fds:"
_ROOM = socket.CMSG_SPACE(253 * array.array("i").itemsize)  # SCM_MAX_FD


def waiting(fd: int) -> int:
    """How many descriptors are in the receive queue of this socket, as /proc/PID/fdinfo has it since Linux
    5.6; 0 where it says nothing of that."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            for line in file:
                if line.startswith(_FIELD):
                    return int(line[len(_FIELD) :])
    except OSError:
        pass
    return 0


def discard(fd: int) -> bool:
    """If there is a descriptor in the queue, empty it, and close all that come out. Whether there was one."""
    if not waiting(fd):
        return False
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as queue:
        for _ in range(MOST):
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            _data, ancillary, _flags, _address = queue.recvmsg(1, _ROOM, flags)
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    for got in array.array("i", payload[: len(payload) & ~3]):
                        os.close(got)
    return True
