"""What a replica with a queue of the device may not ask of the kernel, and that this is so in every process
that has the queue."""

import ctypes
import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neat.replica import confine
from neat.supervisor import process
from tests.replica.killer import ptrace
from tests.support import running_stack, wait_for

CALLS = """
import ctypes, errno, fcntl, os, platform, socket, sys, termios
from neat.replica import confine

libc = ctypes.CDLL(None, use_errno=True)
machine = confine.MACHINES[platform.machine()]

def answer(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno()

tty, _peer = os.openpty()
pipe, _end = os.pipe()
confine.confine()
for command in confine.COMMANDS:
    assert answer(machine.ioctl, pipe, command, ctypes.addressof(ctypes.c_int(0))) in (0, 22, 25), command
    # The kernel takes 32 bits of the command.
    assert answer(machine.ioctl, pipe, command | 1 << 32, ctypes.addressof(ctypes.c_int(0))) != 1
for command in (0x400454CA, 0x400454CB, 0x400454D0, 0x800454E0, 0x8913, 0x5412, termios.FIONREAD + 1):
    assert answer(machine.ioctl, tty, command, 0) == 1, hex(command)
for call in machine.denied:
    assert answer(call, 0, 0, 0, 0, 0) == 1, call
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, 1 << 16 | 1):
    assert answer(machine.socket, family, 2, 0) == 1, family
if platform.machine() == "x86_64":
    assert answer(0x40000000 | 514, tty, 0x400454CA, 0) == 1, "ioctl by the x32 ABI"
socket.socket(socket.AF_UNIX).close()
a, b = socket.socketpair()
a.setblocking(False)
os.set_inheritable(pipe, True)
open("/dev/null").close()
print("confined")
child = os.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-c", "import socket; socket.socket()"])
assert os.waitpid(child, 0)[1] != 0, "what it starts is confined too"
"""

pytestmark = pytest.mark.skipif(bool(confine.usable()), reason=confine.usable())


def test_what_is_left_of_the_kernel():
    done = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True, timeout=60)
    assert done.stdout == "confined\n", done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_without_rights():
    """no_new_privs makes up for CAP_SYS_ADMIN."""
    steps = (
        "import os; from neat.replica import confine; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{steps}; confine.confine(); print('confined')"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "confined\n", done.stderr


class Registers(ctypes.Structure):
    """struct user_regs_struct of x86-64"""

    NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base"
    NAMES += " gs_base ds es fs gs"
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES.split()]


PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SYSCALL, PTRACE_DETACH = 12, 13, 24, 17
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_O_TRACESYSGOOD = 0x4206, 0x4207, 1
SYSCALL_STOP = signal.SIGTRAP | 0x80
TUNSETPERSIST, TUNSETOFFLOAD, TUNSETQUEUE, TUNSETSTEERINGEBPF = 0x400454CB, 0x400454D0, 0x400454D9, 0x800454E0


class Puppet:
    """A process whose next system call is another one."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        assert ptrace(PTRACE_SEIZE, self.pid, 0, PTRACE_O_TRACESYSGOOD) == 0
        ptrace(PTRACE_INTERRUPT, self.pid)
        os.waitpid(self.pid, 0)
        return self

    def __exit__(self, *_):
        ptrace(PTRACE_DETACH, self.pid)

    def to_system_call(self):
        """Until it enters one, or is through with it."""
        while True:
            ptrace(PTRACE_SYSCALL, self.pid)
            _pid, status = os.waitpid(self.pid, 0)
            if os.WIFSTOPPED(status) and os.WSTOPSIG(status) == SYSCALL_STOP:
                return

    def call(self, number, *arguments):
        """What the kernel answers to it; after that it makes the call that it was about to make."""
        self.to_system_call()
        own, made, done = Registers(), Registers(), Registers()
        ptrace(PTRACE_GETREGS, self.pid, 0, ctypes.addressof(own))
        ctypes.pointer(made)[0] = own
        made.orig_rax = number
        for name, value in zip(("rdi", "rsi", "rdx"), arguments, strict=False):
            setattr(made, name, value)
        ptrace(PTRACE_SETREGS, self.pid, 0, ctypes.addressof(made))
        self.to_system_call()
        ptrace(PTRACE_GETREGS, self.pid, 0, ctypes.addressof(done))
        own.rax, own.rip = own.orig_rax, own.rip - 2  # back before the instruction
        ptrace(PTRACE_SETREGS, self.pid, 0, ctypes.addressof(own))
        return ctypes.c_longlong(done.rax).value


def queue_of(pid):
    """The number of the descriptor of its queue."""
    (number,) = [
        int(entry.name)
        for entry in os.scandir(f"/proc/{pid}/fd")
        if os.readlink(entry.path) == "/dev/net/tun"
    ]
    return number


def confined(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return "\nSeccomp:\t2\n" in status and "\nNoNewPrivs:\t1\n" in status


@pytest.fixture(scope="module")
def stack():
    with running_stack(replicas=1, datapath="queues") as running:
        yield running


def processes(stack):
    """The replica and the holder of its descriptors."""
    pid = stack.component("replica0")["pid"]
    (holder,) = wait_for(lambda: process.children(pid), 20, "a holder")
    return pid, holder


@pytest.mark.netns
def test_replica_and_its_holder_are_confined_and_so_are_their_successors(stack):
    first = processes(stack)
    assert all(map(confined, first))
    os.kill(first[0], signal.SIGKILL)
    wait_for(lambda: stack.component("replica0")["pid"] not in (None, first[0]), 20, "a successor")
    stack.wait_running()
    second = processes(stack)
    assert not set(first) & set(second)
    assert all(map(confined, second))
    os.kill(second[1], signal.SIGKILL)
    wait_for(lambda: processes(stack)[1] != second[1], 20, "another holder")
    assert all(map(confined, processes(stack)))


@pytest.mark.netns
@pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86-64")
def test_replica_cannot_change_the_device(stack):
    ioctl = confine.MACHINES["x86_64"].ioctl
    driver, replica = stack.component("driver")["pid"], stack.component("replica0")["pid"]
    with Puppet(driver) as unconfined:
        assert unconfined.call(ioctl, queue_of(driver), TUNSETPERSIST, 0) == 0
    with Puppet(replica) as confined:
        for command in (TUNSETPERSIST, TUNSETOFFLOAD, TUNSETQUEUE, TUNSETSTEERINGEBPF):
            assert confined.call(ioctl, queue_of(replica), command, 0) == -errno.EPERM
        assert confined.call(confine.MACHINES["x86_64"].socket, 16, 3, 0) == -errno.EPERM  # AF_NETLINK
    assert stack.wait_running()["replicas"][0]["slot_state"] == "active"
