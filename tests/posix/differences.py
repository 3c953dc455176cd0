"""The differences from Linux that are meant. Each is in the matrix of neat/shim/README.md too, where it
names its scenario."""

from typing import NamedTuple


class Difference(NamedTuple):
    """`lines` as a diff shows them: `- ` what Linux's transcript has in that place, `+ ` what NEaT's has."""

    reason: str
    lines: tuple[str, ...]


DIFFERENCES: dict[str, Difference] = {
}
