"""How a process of the stack is started and signalled: a fresh exec, exactly the descriptors it is meant to
have."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import neat
from neat.boot import Boot

DYING_S = 2.0  # of a process that was killed, at most
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNET = 0x40000000
# Safe path (-P): a component never imports from the directory in which the user happened to be.
_FLAGS = ("-P", "-s")

_libc = ctypes.CDLL(None, use_errno=True)


def environment() -> dict[str, str]:
    """This process's environment, with the directory that has the neat package on the path."""
    env = dict(os.environ)
    root = str(Path(neat.__file__).resolve().parent.parent)
    paths = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    if root not in paths:
        env["PYTHONPATH"] = os.pathsep.join([root, *paths])
    return env


def start(
    module: str,
    boot: Boot,
    env: dict[str, str],
    stderr: int,
    *,
    arguments: tuple[str, ...] = (),
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Exec `python -m module NAME@FD` with the descriptors that boot names, and no others."""
    record = boot.to_memfd()
    try:
        return subprocess.Popen(
            [sys.executable, *_FLAGS, "-m", module, f"{boot.component}@{record}", *arguments],
            pass_fds=(*boot.fds.values(), record),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env=env,
            cwd="/",
            start_new_session=new_session,
        )
    finally:
        os.close(record)


def describe_exit(status: int) -> str:
    """A returncode of subprocess (negative: a signal) in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"crashed with {signal.Signals(-status).name}"
    except ValueError:
        return f"crashed with signal {-status}"


def become_subreaper() -> None:
    """Orphans among our descendants become our children, not init's."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def set_name(name: str) -> None:
    """What `ps -o comm` shows of this process."""
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def set_priority(pid: int, nice: int) -> None:
    """If we may: a stack without CAP_SYS_NICE works too, on a loaded machine with longer gaps."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, nice)


def go_first(pid: int, level: int) -> None:
    """Before everybody who is not real-time (sched(7)), if we may; what it starts is ordinary again. One that
    never sleeps is throttled by the kernel, and leaves the other cores alone."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(level))


def unshare_network() -> None:
    """Move this process to a new network namespace, which ends with its last process."""
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(
            ctypes.get_errno(), f"a network namespace cannot be made: {os.strerror(ctypes.get_errno())}"
        )


def enter_network(path: str) -> None:
    """Move this process to the network namespace that `path` names."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"{path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


def end(pids: Iterable[int]) -> None:
    """Kill them, and see them dead: a successor must be alone with what they had."""
    pidfds = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
            signal.pidfd_send_signal(pidfds[-1], signal.SIGKILL)
    for pidfd in pidfds:
        select.select([pidfd], [], [], DYING_S)
        os.close(pidfd)


def children(parent: int) -> list[int]:
    """The pids of a process's children, zombies left out."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] not in (b"Z", b"X"):
            found.append(int(entry))
    return found
