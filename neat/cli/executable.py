"""Programs to be run: where one is, whether its socket calls can be intercepted, and to become it.

The preload library gets into a program through the dynamic linker of glibc. Who has none, or is not
obeyed by it, stays with the kernel: static executables, Go (whose runtime makes system calls by itself),
other architectures, other C libraries, set-user-ID programs (ld.so(8), "Secure-execution mode").
"""

import errno
import os
import signal
import stat
import struct
import sys
from dataclasses import dataclass
from typing import NoReturn

import click

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit status, as of a shell
MAX_INTERPRETERS = 5  # as in execve(2)
SHEBANG_BYTES = 256
MAX_HEADERS = 4096
MAX_NAMES = 1 << 20
PT_INTERP, PT_NOTE = 3, 4
GO_NOTE = b"Go\0\0"
ELF64 = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")


def find(program: str) -> str:
    """The file that execvp(3) would run. FileNotFoundError, or PermissionError when it may not be run."""
    if not program:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    candidates = (
        [program] if "/" in program else [os.path.join(d or ".", program) for d in os.get_exec_path()]
    )
    refused: OSError | None = None
    for path in candidates:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if isinstance(error, PermissionError) or "/" in program:
                refused = error
            continue
        if stat.S_ISREG(mode) and os.access(path, os.X_OK, effective_ids=True):
            return path
        refused = PermissionError(errno.EACCES, "is a directory" if stat.S_ISDIR(mode) else "not executable")
    raise refused or FileNotFoundError(errno.ENOENT, "no such program")


def obstacle(path: str) -> str | None:
    """Why the program in that file would not be intercepted; None: it will be."""
    for _ in range(MAX_INTERPRETERS):
        try:
            with open(path, "rb") as file:
                head = file.read(SHEBANG_BYTES)
                if not head.startswith(b"#!"):
                    return elf_obstacle(file.fileno(), path) if head.startswith(b"\x7fELF") else None
        except OSError:
            return None  # may be run but not read: execve will say what it thinks
        following = interpreter(head)
        if following is None:
            return None
        path = following
    return None


def interpreter(head: bytes) -> str | None:
    """The program that a `#!` line names, through env(1)."""
    words = head[2:].partition(b"\n")[0].decode(errors="replace").split()
    if not words:
        return None
    if os.path.basename(words[0]) != "env":
        return words[0]
    name = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
    try:
        return find(name) if name else None
    except OSError:
        return None


@dataclass
class Elf:
    bits: int
    machine: int
    interpreter: str | None = None
    go: bool = False


def elf_obstacle(fd: int, path: str) -> str | None:
    try:
        program, ours = read_elf(fd), own_elf()
    except (struct.error, ValueError, OverflowError, OSError):
        return f"{path} is a damaged ELF file"
    if (program.bits, program.machine) != (ours.bits, ours.machine):
        what = f"{program.bits} bits, ELF machine {program.machine}"
        return f"{path} is a program of another architecture ({what})"
    if program.go:
        return f"{path} is a Go program, which makes system calls without libc"
    if program.interpreter is None:
        return f"{path} is statically linked"
    if os.path.basename(program.interpreter).startswith("ld-musl"):
        return f"{path} uses the C library musl; libneat.so is made for glibc"
    if gains_privileges(fd):
        return f"{path} gains privileges when it starts (set-user-ID), so the linker ignores LD_PRELOAD"
    return None


def own_elf() -> Elf:
    with open(os.path.realpath(sys.executable), "rb") as file:
        return read_elf(file.fileno())


def read_elf(fd: int) -> Elf:
    """struct.error, ValueError, OverflowError or OSError when it makes no sense."""
    head = os.pread(fd, ELF64.size, 0)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise ValueError("not ELF")
    machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
    if head[4] != 2 or head[5] != 1:  # ELFCLASS64, ELFDATA2LSB
        return Elf(32 if head[4] == 1 else 64, machine)
    *_start, segments_at, sections_at, _f, _h, _s, n_segments, _s, n_sections, names = ELF64.unpack(head)
    elf = Elf(64, machine)
    for kind, _flags, at, _va, _pa, size, *_ in table(fd, SEGMENT, segments_at, n_segments):
        if kind == PT_INTERP:
            elf.interpreter = os.pread(fd, min(size, 4096), at).rstrip(b"\0").decode(errors="replace")
        elif kind == PT_NOTE and os.pread(fd, 16, at)[12:] == GO_NOTE:
            elf.go = True
    sections = table(fd, SECTION, sections_at, n_sections)
    if names < len(sections):
        at, size = sections[names][4:6]
        elf.go = elf.go or b"\0.go.buildinfo\0" in os.pread(fd, min(size, MAX_NAMES), at)
    return elf


def table(fd: int, layout: struct.Struct, at: int, count: int) -> list[tuple[int, ...]]:
    """Headers of segments or sections."""
    count = min(count, MAX_HEADERS)
    data = os.pread(fd, count * layout.size, at) if count else b""
    if len(data) != count * layout.size:
        raise ValueError("cut short")
    return list(layout.iter_unpack(data))


def gains_privileges(fd: int) -> bool:
    """Whether the linker will run in secure-execution mode."""
    state = os.fstat(fd)
    if state.st_mode & stat.S_ISUID and state.st_uid != os.getuid():
        return True
    if state.st_mode & stat.S_ISGID and state.st_mode & stat.S_IXGRP and state.st_gid != os.getgid():
        return True
    if os.geteuid() == 0:
        return False
    try:
        return bool(os.getxattr(fd, "security.capability"))
    except OSError:
        return False


def become(path: str, program: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """Execute the file with these arguments (the first is its name), with the signals that Python ignores as
    they were."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        try:
            os.execve(path, program, env)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            os.execve("/bin/sh", ("sh", path, *program[1:]), env)  # as execvp(3)
    except OSError as error:
        fail(program[0], error)


def fail(program: str, error: OSError) -> NoReturn:
    """One line, and the exit status that a shell would give."""
    click.echo(f"Error: {program}: {error.strerror}", err=True)
    raise SystemExit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE) from None
