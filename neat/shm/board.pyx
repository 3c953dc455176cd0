"""The board from Python: writing one's own page, reading everybody's. The layout is in board.pxd."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from neat.shm import counters
from neat.shm.segment import Segment

from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from neat.shm.atomic cimport fence, load32, load64, store32, store64

BOARD_BYTES = BOARD_PAGE * BOARD_PAGES_TOTAL
BOARD_PAGE_BYTES = BOARD_PAGE
BOARD_PAGES = {"supervisor": 0, "driver": 1, "syscall": 2, "guardian": 3}
BOARD_PAGES |= {f"replica{slot}": BOARD_FIRST_REPLICA + slot for slot in range(16)}
# Parts of multi-component replicas: UDP has the slot's that it has to applications, IP one behind all.
PART_PAGES = {f"replica{slot}.udp": BOARD_FIRST_REPLICA + 8 + slot for slot in range(8)}
PART_PAGES |= {f"replica{slot}.ip": BOARD_FIRST_REPLICA + 16 + slot for slot in range(8)}
VERSION = 1


def page_index(component):
    """The page of a component: "driver", "replica0", ... KeyError if there is no such component."""
    return BOARD_PAGES[component] if component in BOARD_PAGES else PART_PAGES[component]


def start_ticks(pid) -> int:
    """Field 22 of /proc/PID/stat, which with the pid names one process for ever; 0 if there is none.

    The name in field 2 may contain spaces and parentheses, so fields are counted from the last one.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


cdef class BoardWriter:
    """The board page of the calling component, mapped writable."""

    cdef BoardPage* page
    cdef readonly str component
    cdef readonly object segment
    cdef dict indexes               # counter name -> index

    def __init__(self, fd, component):
        """Map the page of `component` of the board segment `fd`. SegmentError if that is no board."""
        self.component = component
        self.segment = Segment(fd, BOARD_BYTES, start=page_index(component) * BOARD_PAGE, length=BOARD_PAGE)
        self.page = <BoardPage*><uintptr_t>self.segment.address
        self.indexes = counters.names(component)

    @property
    def address(self):
        """Of the BoardPage, for compiled code."""
        return <uintptr_t>self.page

    def announce(self, incarnation):
        """Say who writes this page from now on: the calling process. Its counters start at zero."""
        store32(&self.page.state, COMPONENT_ABSENT)
        fence()
        memset(self.page.counters, 0, sizeof(uint64_t) * BOARD_COUNTERS)
        memset(&self.page.last_words, 0, sizeof(LastWords))
        self.page.last_words.incarnation = incarnation
        self.page.started_ns = 0
        self.page.busy_ns = 0
        self.page.loops = 0
        self.page.pid = os.getpid()
        self.page.start_ticks = start_ticks(os.getpid())
        self.page.incarnation = incarnation
        self.page.version = VERSION
        self.page.magic = BOARD_MAGIC
        self.heartbeat()
        store32(&self.page.state, COMPONENT_STARTING)

    def running(self):
        """The component may be used."""
        store64(&self.page.started_ns, time.monotonic_ns())
        store32(&self.page.state, COMPONENT_RUNNING)

    def stopping(self):
        store32(&self.page.state, COMPONENT_STOPPING)

    def heartbeat(self):
        board_heartbeat(self.page, time.monotonic_ns())

    def busy(self, nanoseconds):
        """Add time spent awake."""
        board_busy(self.page, nanoseconds)

    def count(self, name, n=1):
        """Add to a counter. KeyError if this component has none of that name."""
        cdef uint32_t index = self.indexes[name]
        board_count(self.page, index, n)


@dataclass(frozen=True)
class ComponentStatus:
    """What a board page says. Its process wrote it, so compare pid and ticks with /proc."""

    component: str
    pid: int
    state: int
    start_ticks: int
    incarnation: int
    started_ns: int
    heartbeat: int
    busy_ns: int
    loops: int
    counters: dict

    @property
    def state_name(self) -> str:
        return {1: "starting", 2: "running", 3: "stopping"}.get(self.state, "absent")


@dataclass(frozen=True)
class Words:
    """What a process said when a signal ended it: any bytes, as it wrote them."""

    incarnation: int
    signal: int
    code: int
    address: int
    frames: list[str]


def read_words(address):
    """The Words on the page at `address`, or None where nothing was said."""
    cdef BoardPage* page = <BoardPage*><uintptr_t>address
    cdef LastWords copy
    memcpy(&copy, &page.last_words, sizeof(LastWords))
    if copy.signal == 0:
        return None
    cdef uint32_t length = min(copy.length, <uint32_t>sizeof(copy.text))
    text = (<bytes>copy.text[:length]).decode("ascii", "replace")
    frames = ["".join(c if c.isprintable() else "?" for c in line) for line in text.splitlines()]
    return Words(copy.incarnation, copy.signal, copy.code, copy.address, frames)


def read_page(address, component):
    """The status on the page at `address`, or None where nobody announced itself."""
    cdef BoardPage copy
    cdef uint32_t i
    shared = <BoardPage*><uintptr_t>address
    state = load32(&shared.state)
    memcpy(&copy, shared, sizeof(BoardPage))
    if copy.magic != BOARD_MAGIC or copy.version != VERSION or state == COMPONENT_ABSENT:
        return None
    values = {}
    for name, index in counters.names(component).items():
        i = index
        if i < BOARD_COUNTERS:
            values[name] = copy.counters[i]
    return ComponentStatus(
        component=component,
        pid=copy.pid,
        state=state,
        start_ticks=copy.start_ticks,
        incarnation=copy.incarnation,
        started_ns=copy.started_ns,
        heartbeat=copy.heartbeat,
        busy_ns=copy.busy_ns,
        loops=copy.loops,
        counters=values,
    )


class BoardReader:
    """The whole board, mapped read-only."""

    def __init__(self, fd):
        self.segment = Segment(fd, BOARD_BYTES, writable=False)

    def read(self, component):
        """ComponentStatus of one component, or None."""
        return read_page(self.segment.address + page_index(component) * BOARD_PAGE, component)

    def last_words(self, component):
        """Words, or None: for who takes leave of it."""
        return read_words(self.segment.address + page_index(component) * BOARD_PAGE)

    def read_all(self):
        """ComponentStatus of each component that announced itself, in the order of the pages."""
        pages = (self.read(component) for component in BOARD_PAGES)
        return [page for page in pages if page is not None]

    def heartbeat(self, component):
        """(pid, heartbeat in ns of CLOCK_MONOTONIC) of a component: for a watchdog that looks often."""
        address = self.segment.address + page_index(component) * BOARD_PAGE
        page = <BoardPage*><uintptr_t>address
        return page.pid, load64(&page.heartbeat)

    def busy(self, component):
        """How long its process has been awake, in ns; 0 where nobody announced itself."""
        address = self.segment.address + page_index(component) * BOARD_PAGE
        page = <BoardPage*><uintptr_t>address
        return load64(&page.busy_ns)

    def counter(self, component, name):
        """One counter of a component. KeyError if it has none of that name."""
        cdef uint32_t index = counters.names(component)[name]
        address = self.segment.address + page_index(component) * BOARD_PAGE
        page = <BoardPage*><uintptr_t>address
        return load64(&page.counters[index])


def read_board(fd):
    """ComponentStatus of each component on the board segment `fd`."""
    return BoardReader(fd).read_all()
