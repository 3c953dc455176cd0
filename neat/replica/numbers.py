"""Which descriptor has which number: those below LOW are the process's own, from there on they are its
state's, and have the same number in every process that the state has ever lived in.

The kernel gives the lowest number that is free, so a process that has a state's descriptors leaves none free
below LOW.
"""

import fcntl
import os

import msgspec

from neat.boot import Boot

LOW = 64
EPOLL, HOLDER = LOW - 2, LOW - 1  # where the process puts what it opens itself


def set_apart(boot: Boot) -> Boot:
    """Move what the process was started with below LOW, and close all else from there on; then leave no
    number free below it. OSError when there is no room."""
    fds = {name: _low(fd) for name, fd in boot.fds.items()}
    os.closerange(LOW, os.sysconf("SC_OPEN_MAX"))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    while null < LOW:
        null = fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, 0)
    os.close(null)
    return msgspec.structs.replace(boot, fds=fds)


def _low(fd: int) -> int:
    if fd < EPOLL:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    if moved >= EPOLL:
        os.close(moved)
        raise OSError(f"a replica is started with more than {EPOLL} descriptors")
    return moved


def put(fd: int, number: int) -> int:
    """Give a descriptor of the process that number, in place of what is there."""
    os.dup2(fd, number, inheritable=False)
    os.close(fd)
    return number
