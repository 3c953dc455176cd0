"""What a replica with a queue of the device may not ask of the kernel: a seccomp filter (seccomp(2)).

Whoever has a queue's descriptor may change the whole device by ioctl(2), whatever user it is: put another
steering program in place (TUNSETSTEERINGEBPF), switch offloads off, detach queues, make the device
persistent. A replica needs none of that, so from `confine()` on ioctl(2) has only the few commands left that
it uses. What else leads to the device's settings, or around the filter, is denied with it: sockets other than
unix ones (rtnetlink, packet), io_uring, bpf(2), and the calls into other processes (ptrace(2) and its like).
The answer is EPERM. The filter is for this process, and for all that it ever starts: nobody can take it off.

It does not keep a replica that is somebody else's by now from the files and the signals of the user that it
runs as: /proc/PID/mem of another process, pidfd_getfd(2), which recovery needs, or kill(2). A replica that
runs as root is trusted that far.

The calls of other architectures (32-bit ones, x32), whose numbers differ, are denied altogether.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import termios
from typing import NamedTuple

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL = 1, 2
# No mitigation of speculative store bypass, which prctl(2) has for who runs other people's code.
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
DENY = SECCOMP_RET_ERRNO | errno.EPERM

# Offsets in struct seccomp_data; of an argument, which has 64 bits, the kernel's calls below use the low 32.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

# BPF_LD | BPF_W | BPF_ABS and so on, of classic BPF (linux/bpf_common.h)
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
X32_BIT = 0x40000000  # in the number of a call by the x32 ABI of x86-64

# SIOCINQ and SIOCOUTQ are the replica's own; FIONBIO is socket.setblocking(), FIOCLEX and FIONCLEX
# os.set_inheritable(), and TCGETS isatty(), with which open() begins.
COMMANDS = (
    termios.FIONREAD,
    termios.TIOCOUTQ,
    termios.FIONBIO,
    termios.FIOCLEX,
    termios.FIONCLEX,
    termios.TCGETS,
)


libc = ctypes.CDLL(None, use_errno=True)


class Machine(NamedTuple):
    """Numbers of calls (asm/unistd.h), and AUDIT_ARCH_* (linux/audit.h)."""

    architecture: int
    seccomp: int
    ioctl: int
    socket: int
    denied: tuple[int, ...]  # ptrace, process_vm_readv, process_vm_writev, bpf, io_uring_setup


MACHINES = {
    "x86_64": Machine(0xC000003E, 317, 16, 41, (101, 310, 311, 321, 425)),
    "aarch64": Machine(0xC00000B7, 277, 29, 198, (117, 270, 271, 280, 425)),
}


def usable() -> str:
    """Why confine() cannot be had here; empty when it can."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return f"no seccomp filter for {platform.machine()}"
    wanted = ctypes.byref(ctypes.c_uint32(SECCOMP_RET_ERRNO))
    if libc.syscall(machine.seccomp, SECCOMP_GET_ACTION_AVAIL, 0, wanted):
        return f"no seccomp filters: {os.strerror(ctypes.get_errno())}"
    return ""


def confine() -> None:
    """From here on this process, and whatever it starts, is denied what this page says. For a process of one
    thread. Raises OSError when the kernel does not take the filter."""
    machine = MACHINES[platform.machine()]
    code = assemble(machine)
    instructions = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: unsigned short len; struct sock_filter *filter
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(instructions))
    # Without CAP_SYS_ADMIN the kernel takes a filter only from who can gain no right by exec.
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW
    if libc.syscall(machine.seccomp, SECCOMP_SET_MODE_FILTER, flags, program):
        raise OSError(ctypes.get_errno(), f"seccomp filter: {os.strerror(ctypes.get_errno())}")


def assemble(machine: Machine) -> bytes:
    """The filter: struct sock_filter, one after another. For every call but ioctl() and socket() it looks at
    the number alone, so that the kernel knows those that it allows without running it (Linux 5.11)."""
    code = [(LOAD, 0, 0, ARCHITECTURE), *unless_equal(machine.architecture, DENY), (LOAD, 0, 0, NUMBER)]
    if machine == MACHINES["x86_64"]:
        code += [(JUMP_AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, DENY)]
    for call in machine.denied:
        code += if_equal(call, [(RETURN, 0, 0, DENY)])
    code += if_equal(machine.ioctl, only(1, COMMANDS))
    code += if_equal(machine.socket, only(0, (socket.AF_UNIX,)))
    code.append((RETURN, 0, 0, SECCOMP_RET_ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


Code = list[tuple[int, int, int, int]]  # code, jt, jf, k


def if_equal(value: int, then: Code) -> Code:
    """What was loaded last decides; `then` must end with RETURN."""
    return [(JUMP_EQUAL, 0, len(then), value), *then]


def unless_equal(value: int, result: int) -> Code:
    return [(JUMP_EQUAL, 1, 0, value), (RETURN, 0, 0, result)]


def only(argument: int, allowed: tuple[int, ...]) -> Code:
    """Allow a call where this argument is one of these, and deny it else."""
    code: Code = [(LOAD, 0, 0, ARGUMENTS + 8 * argument)]
    for value in allowed:
        code += if_equal(value, [(RETURN, 0, 0, SECCOMP_RET_ALLOW)])
    return [*code, (RETURN, 0, 0, DENY)]
