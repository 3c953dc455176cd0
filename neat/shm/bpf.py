"""bpf(2), as much of it as a steering program needs: array maps that can be mapped, programs, test runs.

Source: linux/bpf.h, bpf(2). Without a library: the calls are few, and a run of the verifier is all the
checking that there is.
"""

import ctypes
import errno
import os
import platform
import struct

SYSCALLS = {"x86_64": 321, "aarch64": 280}
MAP_CREATE, MAP_UPDATE, PROG_LOAD, PROG_TEST_RUN, MAP_FREEZE = 0, 2, 5, 10, 22
MAP_TYPE_ARRAY = 2
PROG_TYPE_SOCKET_FILTER = 1
F_RDONLY_PROG, F_MMAPABLE = 1 << 7, 1 << 10
KEY_BYTES = 4  # of an array: an index
INSTRUCTION_BYTES = 8
LOG_BYTES = 1 << 20
NAME_BYTES = 15

# What the system's own words do not say.
REASONS = {
    errno.EPERM: "permission denied (CAP_BPF and CAP_NET_ADMIN are needed)",
    errno.ENOSYS: "this kernel has no bpf(2)",
    errno.E2BIG: "too large for this kernel",
}


class BpfError(OSError):
    """bpf(2) failed; the text is one line that says what and why. `log`: the verifier's, if it refused."""

    def __init__(self, code: int, text: str, log: str = ""):
        super().__init__(code, text)
        self.log = log


def array(name: str, size: int) -> int:
    """A map of one element of `size` bytes, zeroed, that can be mapped as memory. Its descriptor.

    All its memory is allocated now.
    """
    return _create(name, size, F_MMAPABLE)


def constant(name: str, value: bytes) -> int:
    """A map of one element that nobody can ever change, neither programs nor processes. Its descriptor."""
    fd = _create(name, len(value), F_RDONLY_PROG)
    try:
        key = ctypes.create_string_buffer(KEY_BYTES)
        data = ctypes.create_string_buffer(value, len(value))
        attributes = struct.pack("=IxxxxQQQ", fd, ctypes.addressof(key), ctypes.addressof(data), 0)
        _call(MAP_UPDATE, attributes, f"BPF map {name}")
        _call(MAP_FREEZE, struct.pack("=I", fd), f"BPF map {name}")
    except BpfError:
        os.close(fd)
        raise
    return fd


def _create(name: str, size: int, flags: int) -> int:
    attributes = struct.pack(
        "=IIIIIII15sx", MAP_TYPE_ARRAY, KEY_BYTES, size, 1, flags, 0, 0, name.encode()[:NAME_BYTES]
    )
    return _call(MAP_CREATE, attributes, f"BPF map {name}")[0]


def load(name: str, instructions: bytes, kind: int = PROG_TYPE_SOCKET_FILTER) -> int:
    """Have the kernel verify and compile a program. Its descriptor; it keeps the maps that it uses. `kind`:
    of enum bpf_prog_type."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    count = len(instructions) // INSTRUCTION_BYTES

    def attempt(log: "ctypes.Array[ctypes.c_char] | None") -> int:
        attributes = struct.pack(
            "=IIQQIIQII15sx",
            *(kind, count, ctypes.addressof(code), ctypes.addressof(licence)),
            *((1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)),
            *(0, 0, name.encode()[:NAME_BYTES]),
        )
        return _call(PROG_LOAD, attributes, f"BPF program {name}")[0]

    try:
        return attempt(None)
    except BpfError as refused:
        if refused.errno not in (errno.EACCES, errno.EINVAL, errno.E2BIG):
            raise
    # Only a program that is refused is worth a log: writing one makes verification slow.
    log = ctypes.create_string_buffer(LOG_BYTES)
    try:
        return attempt(log)
    except BpfError as refused:
        text = log.value.decode(errors="replace")
        last = next((line for line in reversed(text.splitlines()) if not _is_statistics(line)), "")
        words = f"BPF program {name}: the kernel's verifier refuses it: {last or refused.strerror}"
        raise BpfError(refused.errno or 0, words, text) from None


def _is_statistics(line: str) -> bool:
    return not line or line.startswith(("processed ", "verification time", "stack depth"))


def test_run(program: int, packet: bytes, repeat: int = 1) -> tuple[int, int]:
    """What a program returns for a packet, and the nanoseconds that it took (the mean, if repeated).

    packet: what the program finds from offset 0 on. For a socket filter the kernel takes the first 14 bytes
    off, so there are some before it.
    """
    padded = bytes(14) + packet
    data = ctypes.create_string_buffer(padded, len(padded))
    attributes = struct.pack(
        "=IIIIQQIIIIQQIII4x",
        *(program, 0, len(padded), 0, ctypes.addressof(data), 0),
        *(repeat, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    _, answer = _call(PROG_TEST_RUN, attributes, "test run of a BPF program")
    result, duration = struct.unpack_from("=4xI28xI", answer)
    return result, duration


def _call(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """(what the call returned, the attributes after it)."""
    number = SYSCALLS.get(platform.machine())
    if number is None:
        raise BpfError(errno.ENOSYS, f"{what}: no bpf(2) on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(
        ctypes.c_long(number), ctypes.c_long(command), ctypes.byref(buffer), ctypes.c_long(len(attributes))
    )
    if result < 0:
        code = ctypes.get_errno()
        raise BpfError(code, f"{what}: {REASONS.get(code, os.strerror(code))}")
    return result, buffer.raw
