"""What the papers say in numbers: those of their text and tables. What their pictures alone show is not here,
as nobody can read it to the digit.

"NEaT" is Hruby et al., CoNEXT 2016; "NewtOS" is Hruby et al., DSN 2012."""

from collections.abc import Sequence
from typing import NamedTuple

AMD = "AMD Opteron 6168, 12 cores, 10 Gbit/s"
XEON = "Intel Xeon E5520, 8 cores, 16 threads, 10 Gbit/s"


class Rate(NamedTuple):
    """A point of a figure that the text names."""

    what: str
    servers: int
    krps: float  # 1,000 requests a second
    where: str  # in the paper


class Tuned(NamedTuple):
    """A row of Table 1."""

    what: str
    krps: float


class DriverLoad(NamedTuple):
    """A row of Table 2: percent of a core, percent of that, 1,000 requests a second."""

    cpu: float
    kernel: float
    polling: float
    krps: float


TABLE_1 = (
    Tuned("defaults", 184.118),
    Tuned("sched+eth+irqAff+rxAff", 186.667),
    Tuned("sched+eth+irqAff+rxAff+serv", 223.987),
)
TABLE_2 = (
    DriverLoad(6, 33.3, 51.8, 3),
    DriverLoad(60, 14.2, 27.9, 45),
    DriverLoad(88, 5.4, 19.7, 90),
    DriverLoad(97, 0.1, 7.4, 242),
)
# Of 100 runs in which something failed: percent.
TABLE_3 = {"transparent": 53.8, "lost": 46.2}
TABLE_3_RUNS = 100

LINUX_AMD = Rate("Linux, best", 12, 224.0, "§6.3")
LINUX_XEON = Rate("Linux, best", 16, 328.0, "§6.4")
FIGURE_7 = (Rate("NEaT 3x", 6, 302.0, "§6.3"), LINUX_AMD)
FIGURE_9 = (Rate("Multi 2x", 8, 322.0, "§6.4"), LINUX_XEON)
FIGURE_11 = (Rate("NEaT 4x", 8, 372.0, "§6.4"), LINUX_XEON)

# From this file size on the link of 10 Gbit/s was the limit, and from the next two latency rose steeply.
LINK_BYTES = 7_000
LATENCY_BYTES = (100_000, 1_000_000)

# Fig. 12: simultaneous connections, and the servers that share them.
FIGURE_12_LOADS: Sequence[tuple[int, int]] = ((8, 1), (16, 1), (32, 1), (64, 1), (32, 2), (64, 4))
FIGURE_12_SETUPS = (("NEaT 1x", 1), ("NEaT 2x", 2), ("NEaT 3x", 3))
FIGURE_12_MULTI = (("Multi 1x", 1), ("Multi 2x", 2))
