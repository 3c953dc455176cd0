"""Sending and receiving struct neat_msg with descriptors. Nothing here blocks."""

import array
import contextlib
import os
import select
import socket

from neat.abi.messages import MESSAGE_BYTES, BadMessage, Message

MAX_FDS = 4
QUEUE_BYTES = 4 << 20  # some thousand messages: the kernel counts about 800 bytes for one
SO_SNDBUFFORCE = 32
_ROOM = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)


class Gone(Exception):
    """The other end is closed, or so far behind that it is given up."""


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """One message and its descriptors, which are the caller's; None when there is nothing to read.

    Gone at the end of the stream; BadMessage when it is no struct neat_msg (its descriptors are closed).
    """
    try:
        data, ancillary, _flags, _address = sock.recvmsg(MESSAGE_BYTES + 1, _ROOM, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    except OSError as error:
        raise Gone(error.strerror) from None
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if not data and not fds:
        raise Gone("end of stream")
    try:
        return Message.unpack(data), list(fds)
    except BadMessage:
        close_all(list(fds))
        raise


def send(sock: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """Gone when it can't be sent now: who does not read its answers has no claim to more."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([message.pack()], ancillary, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError as error:
        raise Gone(error.strerror) from None


def close_all(fds: list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
    fds.clear()


def widen(sock: socket.socket) -> None:
    """The longest queue that is allowed: more than wmem_max where we have the privilege."""
    for option in (SO_SNDBUFFORCE, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, QUEUE_BYTES)
            return


def hung_up(fd: int) -> bool:
    """Whether the last descriptor of the other end is closed."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _fd, events in poll.poll(0))


def readable(fd: int) -> bool:
    """Of a pidfd: whether its process is gone (pidfd_open(2))."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def is_stack_end(fd: int) -> bool:
    """Whether this is a unix SOCK_SEQPACKET socket: the only thing that an application may hand us."""
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            return copy.family == socket.AF_UNIX and copy.type == socket.SOCK_SEQPACKET
    except OSError:
        return False
