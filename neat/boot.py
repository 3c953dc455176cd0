"""What a component is started with: its name, its settings, and its inherited descriptors, as one JSON argument.

`python -m neat.replica '{"component": "replica0", "incarnation": 3, "config": {...}, "fds": {"board": 5, ...}, ...}'`
The names of the descriptors each component gets are in ARCHITECTURE.md, "How a component starts".
"""

import sys

import msgspec

from neat.config import Config


class Boot(msgspec.Struct, frozen=True):
    component: str  # "driver", "syscall", "replica0", ...
    incarnation: int  # 1 for the first start
    config: Config
    fds: dict[str, int]
    secret: str = ""  # 64 hex digits, the same for all replicas and incarnations of one stack

    @property
    def slot(self) -> int:
        """The replica slot, of a component called replicaN."""
        return int(self.component.removeprefix("replica"))

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()


def from_argv() -> Boot:
    """The Boot of this process; exits with one line when it was started by hand."""
    if len(sys.argv) != 2:
        sys.exit("this is a component of a NEaT stack and is started by its supervisor: use `neat up`")
    try:
        return msgspec.json.decode(sys.argv[1], type=Boot)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        sys.exit(f"bad boot record: {error}")
