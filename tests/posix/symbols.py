"""The names of libc through which a program can reach a socket, and why some are left to libc."""

import re
import subprocess
from pathlib import Path

from tests.posix.worlds import LIBRARY

LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")

# A call of libc with a descriptor of a socket, or one that makes, copies, passes on or ends descriptors.
CALLS = """
    read write readv writev pread pwrite preadv2 preadv64v2 pwritev2 pwritev64v2 preadv pwritev
    send recv sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
    sendfile splice tee vmsplice copy_file_range sockatmark isfdtype
    socket socketpair bind bindresvport listen accept connect shutdown
    getsockname getpeername getsockopt setsockopt
    close close_range closefrom dup dup2 dup3 fcntl ioctl lseek llseek isatty fstat fsync fdatasync ftruncate
    poll ppoll select pselect epoll_create epoll_ctl epoll_wait epoll_pwait
    fork vfork clone posix_spawn posix_spawnp system popen daemon forkpty pidfd_getfd
    execve execv execvp execvpe execl execle execlp execveat fexecve
    fdopen dprintf vdprintf getaddrinfo syscall
    open openat creat mkstemp mkostemp shm_open memfd_create posix_openpt
    eventfd signalfd timerfd_create inotify_init pipe
    aio_read aio_write lio_listio
"""
PATTERN = re.compile(rf"_*({'|'.join(CALLS.split())})_?\d*(64)?(_chk|_2|_np)?")

# What is left to libc, and what makes that right.
LEFT = {
    "pread": "the pair's end is no file either: ESPIPE from the kernel",
    "pwrite": "as pread",
    "preadv": "as pread",
    "pwritev": "as pread",
    "lseek": "as pread",
    "llseek": "as pread",
    "isatty": "ENOTTY from the kernel, as for every socket",
    "isfdtype": "fstat: a socket",
    "fstat": "a socket: S_IFSOCK from the kernel",
    "fsync": "EINVAL from the kernel, as for every socket",
    "fdatasync": "as fsync",
    "ftruncate": "EINVAL from the kernel, as for every socket",
    "tee": "EINVAL from the kernel: not a pipe",
    "vmsplice": "EBADF from the kernel: not a pipe",
    "copy_file_range": "EINVAL from the kernel: not a regular file",
    "sockatmark": "an ioctl that libc makes by itself, SIOCATMARK",
    "bindresvport": "libc's own bind(): such a socket is the kernel's",
    "fork": "pthread_atfork() handlers do what has to be done",
    "forkpty": "libc's own fork(): pthread_atfork() handlers run there too",
    "pidfd_getfd": "for debuggers; the descriptor is like one that came with SCM_RIGHTS",
    "execveat": "not used by libc itself; fexecve() is interposed",
    "getaddrinfo": "libc's own sockets to name servers are the kernel's",
    "aio_read": "threads of libc, for files",
    "aio_write": "as aio_read",
    "lio_listio": "as aio_read",
}


def exported(library: Path) -> dict[str, str]:
    """Name: version, of what is defined in the dynamic symbol table."""
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], check=True, capture_output=True, text=True
    ).stdout
    names = (line.split()[-1].partition("@") for line in listing.splitlines())
    return {name: version.lstrip("@") for name, _, version in names}


def interposed() -> set[str]:
    """What libneat.so has under a name of libc."""
    return set(exported(LIBRARY)) & set(exported(LIBC))


def base(name: str) -> str | None:
    """The call that a name of libc is a variant of (`read` of `__read_chk`); None: not one of those."""
    found = PATTERN.fullmatch(name)
    return found[1] if found else None
