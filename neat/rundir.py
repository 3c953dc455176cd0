"""Where a stack's sockets, log and lock live, and who guards it. Import-light: every command and component
uses it.

`$NEAT_RUN_DIR` when set (the whole directory, whatever the name), else `/run/neat/<name>` for root, else
`$XDG_RUNTIME_DIR/neat/<name>`. The client core in `neat/shim` has its own copy of this rule.
"""

import contextlib
import fcntl
import os
from pathlib import Path

GUARDIAN_PID = "guardian.pid"
CONTROL_SOCKET = "control.sock"
SYSCALL_SOCKET = "syscall.sock"
LOG = "stack.log"
LOCK = "lock"
LIBRARY = "libneat.so"  # a copy, where the installation is closed to others
CARETAKER_SOCKET = "caretaker.sock"  # of who keeps listening sockets of programs until the next stack
CARETAKER_PID = "caretaker.pid"
NETNS = "netns"  # the name of the network namespace that was made for this stack
CARETAKER = (CARETAKER_SOCKET, CARETAKER_PID, SYSCALL_SOCKET)
NAME = r"^[a-z0-9][a-z0-9-]{0,31}$"  # of a stack: a file name
FILES = (GUARDIAN_PID, CONTROL_SOCKET, *CARETAKER, NETNS, LIBRARY, LOG, LOG + ".1", LOCK)


class InUse(Exception):
    """Another process holds the lock of this run directory: a stack of that name is up, or coming up."""


def path(name: str) -> Path:
    """The run directory of the stack called `name`; it need not exist."""
    override = os.environ.get("NEAT_RUN_DIR")
    if override:
        return Path(override)
    if os.geteuid() == 0:
        return Path("/run/neat") / name
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return Path(base) / "neat" / name


def kept(name: str) -> Path:
    """Where crash reports and the event log of the stack called `name` stay after it: `$NEAT_LOG_DIR` when
    set (the whole directory), else beside `$NEAT_RUN_DIR`, else `/var/log/neat/<name>` for root, else
    `$XDG_STATE_HOME/neat/<name>`. It need not exist."""
    override, run = os.environ.get("NEAT_LOG_DIR"), os.environ.get("NEAT_RUN_DIR")
    if override:
        return Path(override)
    if run:
        return Path(f"{run.rstrip('/')}.log")
    if os.geteuid() == 0:
        return Path("/var/log/neat") / name
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "neat" / name


def start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat, which with the pid names one process for ever; 0 when there is none (or a
    zombie)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def acquire(directory: Path) -> int:
    """Make the directory and lock it; the lock lasts as long as any copy of the returned descriptor. Raises
    InUse."""
    while True:
        _make(directory)
        try:
            fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # its last owner removed the directory just now
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == os.stat(directory / LOCK).st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            raise InUse(str(directory)) from None
        except FileNotFoundError:
            pass  # removed between open and lock: what we hold is nobody's
        os.close(fd)


def _make(directory: Path) -> None:
    """With its parents, whatever the umask: programs that give up their rights come here as other users."""
    if not directory.is_dir():
        _make(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            directory.chmod(0o755)


def clean(directory: Path, keep: tuple[str, ...] = ()) -> list[str]:
    """Remove what a stack leaves in its directory, but `keep`; caller must hold the lock. Returns what was
    there."""
    removed = []
    for name in FILES:
        if name in keep:
            continue
        try:
            os.unlink(directory / name)
        except FileNotFoundError:
            continue
        removed.append(name)
    return removed


def remove(directory: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove the files but `keep` and, when nothing else is in it, the directory; caller must hold the
    lock."""
    clean(directory, keep)
    try:
        os.rmdir(directory)
    except OSError:
        return  # somebody else's files are in it


def write_guardian(directory: Path, pid: int) -> None:
    _write_pid(directory / GUARDIAN_PID, pid)


def write_caretaker(directory: Path, pid: int) -> None:
    _write_pid(directory / CARETAKER_PID, pid)


def _write_pid(path: Path, pid: int) -> None:
    path.write_text(f"{pid} {start_ticks(pid)}\n")


def guardian(directory: Path) -> int | None:
    """The pid of the guardian that lives now, or None."""
    return _living(directory / GUARDIAN_PID)


def caretaker(directory: Path) -> int | None:
    """The pid of the caretaker (neat/supervisor/caretaker.py) that lives now, or None."""
    return _living(directory / CARETAKER_PID)


def _living(path: Path) -> int | None:
    try:
        pid, ticks = map(int, path.read_text().split())
    except (OSError, ValueError):
        return None
    return pid if ticks and start_ticks(pid) == ticks else None
