"""The preload library, at a path that a program can open whoever it runs as.

The linker looks for it anew in each program that is started, as the user that runs it by then, and goes on
without it if it cannot open it (ld.so(8), LD_PRELOAD). So of an installation that is closed to others, below
a home of mode 700 say, root gives its programs a copy: they may give up their rights. Who has no rights to
give up needs none.
"""

import contextlib
import hashlib
import mmap
import os
import stat
import tempfile
from pathlib import Path

from neat import rundir

CACHE = Path("/var/cache/neat")  # where the run directory will not do


def library(run_dir: Path) -> Path:
    """For LD_PRELOAD. FileNotFoundError when it was not built, or cannot be where everybody finds it."""
    path = built()
    if os.geteuid() != 0 or open_to_everybody(path):
        return path
    installation = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    for copy in (run_dir / rundir.LIBRARY, CACHE / f"libneat-{installation}.so"):
        with contextlib.suppress(OSError):
            if copy.parent == CACHE and not CACHE.is_dir():
                CACHE.mkdir()
                CACHE.chmod(0o755)
            put(path, copy)
            if can_be_named(copy) and open_to_everybody(copy) and is_executable(copy):
                return copy
    raise FileNotFoundError(
        f"{path} is closed to other users, and neither {run_dir} nor {CACHE} can have a copy:"
        " programs that give up their rights would use the kernel's network"
    )


def built() -> Path:
    """Beside this package's modules."""
    import neat

    path = Path(neat.__file__).resolve().parent / "shim" / "libneat.so"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: it is built by scripts/build")
    if not can_be_named(path):
        raise FileNotFoundError(f"{path}: LD_PRELOAD can't name a path with a space or a colon")
    return path


def can_be_named(path: Path) -> bool:
    return not {" ", ":"} & set(str(path))


def open_to_everybody(path: Path) -> bool:
    """By the bits for others, of the file and of each directory above it."""
    path = path.resolve()
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        directory.stat().st_mode & stat.S_IXOTH for directory in path.parents
    )


def is_executable(path: Path) -> bool:
    """Not on a file system that is mounted `noexec`, as /run often is."""
    with path.open("rb") as file:
        try:
            mmap.mmap(file.fileno(), 1, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
        except PermissionError:
            return False
    return True


def put(original: Path, copy: Path) -> None:
    """The same bytes, for all to read; programs that have an older copy mapped keep that. OSError."""
    data = original.read_bytes()
    with contextlib.suppress(FileNotFoundError):
        if copy.read_bytes() == data and copy.stat().st_mode & 0o777 == 0o755:
            return
    fd, draft = tempfile.mkstemp(dir=copy.parent, prefix=copy.name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            os.fchmod(fd, 0o755)
        os.replace(draft, copy)
    except OSError:
        os.unlink(draft)
        raise
