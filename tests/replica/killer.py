"""A process that runs replicas, kills each at a system call of the test's choice, and starts a successor at
once.

`python -m tests.replica.killer FD`: requests on FD, a SOCK_SEQPACKET socket, one JSON object a datagram:

| request                                | answer                                                   |
|----------------------------------------|----------------------------------------------------------|
| `{"op": "start", "boot": ...}` + fds   | `{}`: it runs                                            |
| `{"op": "arm", "at": n}`               | `{}`: from now on system calls count; it is killed at    |
|                                        | the entry of the n-th, or the end of a read(). With      |
|                                        | "call": "name", only those count. With "steps": i, it    |
|                                        | may go on for i instructions. With "then": m, its        |
|                                        | successor is killed at its m-th, of any name, counted    |
|                                        | from its start                                           |
| `{"op": "stop"}`                       | `{"killed": "name of the call" or null, "kills": n,      |
|                                        | "calls": the names of those it made since "arm"}`        |

The end of a read() or readv() is a call of its own, `read done`, when it got more than a doorbell has: that
is nowhere else any more.
Replicas are forked, not exec'd: a hundred of them cost a test as much as a few Pythons. Calls that a replica
makes while it waits do not count.
"""

import contextlib
import ctypes
import json
import logging
import os
import select
import signal
import socket
import sys

import msgspec

from neat.boot import Boot
from neat.replica import main as replica

PTRACE_PEEKUSER, PTRACE_SYSCALL, PTRACE_SINGLESTEP = 3, 24, 9
PTRACE_TRACEME, PTRACE_SETOPTIONS = 0, 0x4200
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
PTRACE_O_TRACESYSGOOD = 1
ORIG_RAX, RAX = 15 * 8, 10 * 8  # struct user_regs_struct, x86-64
WALL = 0x40000000
PR_SET_CHILD_SUBREAPER = 36
READ, READV, BELL_BYTES = 0, 19, 8
# read, write, close, sendto, ... for messages; the rest by number.
NAMES = {READ: "read", READV: "readv", 1: "write", 3: "close", 9: "mmap", 16: "ioctl", 44: "sendto"}
NAMES |= {45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 48: "shutdown", 55: "getsockopt"}
NAMES |= {233: "epoll_ctl", 293: "pipe2"}
# epoll_wait, epoll_pwait, epoll_pwait2, sched_yield, nanosleep, clock_nanosleep, ppoll
WAITING = {232, 281, 441, 24, 35, 230, 271}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    found: int = libc.ptrace(request, pid, address, data)
    return found


class Killer:
    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.boot: Boot | None = None
        self.pid = 0
        self.at = 0  # 0: nobody is to be killed
        self.then = 0
        self.call: str | None = None  # only those count
        self.calls: set[str] = set()
        self.steps = 0
        self.count = 0
        self.entered = False
        self.kills = 0
        self.killed: str | None = None

    def serve(self) -> None:
        while True:
            if self.at:
                self.trace()
            # An idle replica makes a system call a few times a second, so `trace` comes back.
            if not self.at or select.select([self.requests], [], [], 0)[0]:
                data, fds, _flags, _address = socket.recv_fds(self.requests, 1 << 16, 16)
                if not data:
                    return
                self.requests.send(json.dumps(self.answer(json.loads(data), fds)).encode())

    def answer(self, request: dict, fds: list[int]) -> dict:
        if request["op"] == "start":
            boot = msgspec.json.decode(request["boot"], type=Boot)
            self.boot = msgspec.structs.replace(boot, fds=dict(zip(boot.fds, fds, strict=True)))
            self.killed, self.kills, self.then, self.calls = None, 0, 0, set()
            self.fork()
        elif request["op"] == "arm":
            self.at, self.then, self.call = request["at"], request.get("then", 0), request.get("call")
            self.steps = request.get("steps", 0)
            self.count, self.entered = 0, False
            ptrace(PTRACE_SEIZE, self.pid, 0, PTRACE_O_TRACESYSGOOD)
            ptrace(PTRACE_INTERRUPT, self.pid)
        else:
            self.stop()
            return {"killed": self.killed, "kills": self.kills, "calls": sorted(self.calls)}
        return {}

    def fork(self) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                if self.at:
                    ptrace(PTRACE_TRACEME, 0)
                    os.kill(os.getpid(), signal.SIGSTOP)
                replica.run(self.boot)
                status = 0
            except BaseException:
                logging.exception("replica")
            os._exit(status)

    def trace_from_birth(self) -> None:
        os.waitpid(self.pid, WALL)
        ptrace(PTRACE_SETOPTIONS, self.pid, 0, PTRACE_O_TRACESYSGOOD)
        ptrace(PTRACE_SYSCALL, self.pid)

    def trace(self) -> None:
        """One stop of the replica."""
        _pid, status = os.waitpid(self.pid, WALL)
        if not os.WIFSTOPPED(status):
            self.at = 0  # died by itself
            return
        number = os.WSTOPSIG(status)
        deliver = 0 if number in (signal.SIGTRAP, signal.SIGTRAP | 0x80) else number
        if number == signal.SIGTRAP | 0x80:
            self.entered = not self.entered
            name = self.name()
            if name:
                self.calls.add(name)
                self.count += self.call in (None, name)
                if self.count == self.at:
                    self.kill(name)
                    return
        ptrace(PTRACE_SYSCALL, self.pid, 0, deliver)

    def name(self) -> str:
        """Of what it is stopped at; "": nothing that counts."""
        call = ptrace(PTRACE_PEEKUSER, self.pid, ORIG_RAX)
        if self.entered:
            return "" if call in WAITING else NAMES.get(call, f"call {call}")
        got_something = call in (READ, READV) and ptrace(PTRACE_PEEKUSER, self.pid, RAX) > BELL_BYTES
        return "read done" if got_something else ""

    def kill(self, name: str) -> None:
        self.killed = name
        self.kills += 1
        self.at, self.then, self.call = self.then, 0, None
        self.count, self.entered = 0, False
        for _ in range(self.steps):
            ptrace(PTRACE_SINGLESTEP, self.pid)
            os.waitpid(self.pid, WALL)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, WALL)
        assert self.boot is not None
        state = self.boot.state or self.boot.incarnation
        self.boot = msgspec.structs.replace(self.boot, incarnation=self.boot.incarnation + 1, state=state)
        self.fork()
        if self.at:
            self.trace_from_birth()

    def stop(self) -> None:
        self.at = 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if self.boot is not None:
            for fd in self.boot.fds.values():
                os.close(fd)
        self.boot = None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, WALL)
            while os.waitpid(-1, os.WNOHANG | WALL)[0]:  # holders whose replica is gone
                pass


def main() -> None:
    logging.basicConfig(level="INFO", stream=sys.stderr, format="replica0: %(levelname)s: %(message)s")
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Killer(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
