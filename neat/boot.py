"""What a component is started with: its name, its settings, and its inherited descriptors, as one JSON
record.

`python -m neat.replica '{"component": "replica0", "incarnation": 3, "config": {...}, "fds": {"board": 5,
...}, ...}'` or `python -m neat.replica replica0@9`: the record is read from descriptor 9, because everyone
may read an argument and the record has the stack's secret. The names of the descriptors each component gets
are in ARCHITECTURE.md, "How a component starts".
"""

import os
import sys

import msgspec

from neat import parts
from neat.config import Config


class Boot(msgspec.Struct, frozen=True):
    component: str  # "driver", "syscall", "replica0", ...
    incarnation: int  # 1 for the first start
    config: Config
    fds: dict[str, int]
    secret: str = ""  # 64 hex digits, the same for all replicas and incarnations of one stack
    state: int = 0  # of a replica: the incarnation that began its state; 0: this one
    blame: bool = False  # of a replica: what its predecessor was processing is skipped
    no_queues: str = ""  # of the supervisor: why the datapath "auto" could not become "queues"

    @property
    def slot(self) -> int:
        """Of a replica or a part of one."""
        return parts.slot_of(self.component)

    @property
    def part(self) -> str:
        """Of a multi-component replica; empty: none."""
        return parts.part_of(self.config, self.component)

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    def to_memfd(self) -> int:
        """A descriptor to hand down as NAME@FD; the caller closes it."""
        fd = os.memfd_create("neat-boot", os.MFD_CLOEXEC)
        os.write(fd, msgspec.json.encode(self))
        return fd


def _read_memfd(fd: int) -> bytes:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return data


def from_argv() -> Boot:
    """The Boot of this process; exits with one line when it was started by hand."""
    if len(sys.argv) != 2:
        sys.exit("this is a component of a NEaT stack and is started by its supervisor: use `neat up`")
    argument: str | bytes = sys.argv[1]
    _name, at, fd = sys.argv[1].rpartition("@")
    try:
        if at and fd.isdecimal() and not sys.argv[1].startswith("{"):
            argument = _read_memfd(int(fd))
        return msgspec.json.decode(argument, type=Boot)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        sys.exit(f"bad boot record: {error}")
