"""A running process as it is mapped: its compiled functions, its stack, heap and state segment; read and
written through /proc/PID/mem.

What is written to text goes into the process's private copy of the page: files and other processes, its
successors among them, do not have it.
"""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import neat

PACKAGES = (Path(neat.__file__).resolve().parent, Path(neat.__file__).resolve().parent.parent / "drivers")
PAGE = os.sysconf("SC_PAGE_SIZE")
WORD = 8
# Of the folders of modules: what a kind of component runs on a packet's way.
ROOMS = {"replica": ("stack", "replica", "shm", "wire"), "driver": ("drivers", "shm", "wire")}
COMPILED = "__pyx_f_"  # a function of ours that is no Python


class InjectError(Exception):
    """The process cannot be had, or has nothing of that kind; the text says what."""


@dataclass(frozen=True)
class Mapping:
    start: int
    end: int
    rights: str
    offset: int
    path: str


@dataclass(frozen=True)
class Function:
    module: str
    name: str
    address: int  # in the process
    size: int


def mappings(pid: int) -> list[Mapping]:
    found = []
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError as error:
        raise InjectError(f"process {pid}: {error.strerror}") from None
    for line in lines:
        words = line.split(None, 5)
        start, _, end = words[0].partition("-")
        path = words[5] if len(words) > 5 else ""
        found.append(Mapping(int(start, 16), int(end, 16), words[1], int(words[2], 16), path))
    return found


@cache
def symbols(path: str) -> tuple[int, tuple[tuple[str, int, int], ...]]:
    """Of a module: where its executable segment begins, in pages, and (name, address, size) of functions."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    with open(path, "rb") as file:
        elf = ELFFile(file)
        text = next(s for s in elf.iter_segments("PT_LOAD") if s["p_flags"] & 1)
        table = elf.get_section_by_name(".symtab")
        if table is None:
            raise InjectError(f"{path} has no symbols: it was stripped")
        assert isinstance(table, SymbolTableSection)
        found = tuple(
            (symbol.name, symbol["st_value"], symbol["st_size"])
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"] and COMPILED in symbol.name
        )
    return text["p_vaddr"] & ~(PAGE - 1), found


def functions(pid: int, kind: str) -> list[Function]:
    """The compiled functions that a component of this kind has mapped."""
    found = []
    for mapping in mappings(pid):
        module = module_of(mapping.path)
        if "x" in mapping.rights and module is not None and module.split(".")[0] in ROOMS[kind]:
            begin, names = symbols(mapping.path)
            found += [Function(module, name, mapping.start - begin + at, size) for name, at, size in names]
    if not found:
        raise InjectError(f"process {pid} has no compiled functions of a {kind}")
    return sorted(found, key=lambda function: (function.module, function.name, function.address))


def module_of(path: str) -> str | None:
    """`stack.engine` of a file of ours."""
    file = Path(path)
    if file.suffix != ".so":
        return None
    for package in PACKAGES:
        if file.is_relative_to(package):
            inner = file.relative_to(package)
            room = [] if package.name == "neat" else [package.name]
            return ".".join([*room, *inner.parts[:-1], inner.name.partition(".")[0]])
    return None


class Memory:
    def __init__(self, pid: int) -> None:
        try:
            self.fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise InjectError(f"memory of process {pid}: {error.strerror}") from None
        self.pid = pid

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read(self, address: int, size: int) -> bytes:
        try:
            return os.pread(self.fd, size, address)
        except OSError as error:
            raise InjectError(f"process {self.pid} at {address:#x}: {error.strerror}") from None

    def write(self, address: int, data: bytes) -> None:
        try:
            done = os.pwrite(self.fd, data, address)
        except OSError as error:
            raise InjectError(f"process {self.pid} at {address:#x}: {error.strerror}") from None
        if done != len(data):
            raise InjectError(f"process {self.pid} at {address:#x}: written in part")

    def flip(self, address: int, bit: int) -> tuple[bytes, bytes]:
        """What was there, and what is."""
        before = self.read(address, 1)
        after = bytes([before[0] ^ 1 << bit])
        self.write(address, after)
        return before, after


def words_in_use(memory: Memory, areas: Sequence[Mapping], chance: random.Random) -> Iterator[int]:
    """Addresses of words that are not zero, at random: what nobody has written nobody misses."""
    areas = [area for area in areas if area.end > area.start]
    sizes = [area.end - area.start for area in areas]
    for _ in range(4096 if areas else 0):
        area = chance.choices(areas, sizes)[0]
        address = chance.randrange(area.start, area.end - WORD + 1) & ~(WORD - 1)
        try:
            word = memory.read(address, WORD)
        except InjectError:
            continue  # a page that is not there, or a guard
        if any(word):
            yield address
    raise InjectError(f"process {memory.pid}: nothing that is in use was found")


def stack_of(pid: int) -> list[Mapping]:
    """From the top of the frames in use to the end of the stack."""
    (area,) = [m for m in mappings(pid) if m.path == "[stack]"]
    said = Path(f"/proc/{pid}/syscall").read_text().split()
    top = int(said[-2], 16) if len(said) > 2 else area.end - (area.end - area.start) // 4
    return [Mapping(max(top & ~(WORD - 1), area.start), area.end, area.rights, 0, area.path)]


def heap_of(pid: int) -> list[Mapping]:
    """What malloc() has: the heap and private memory without a name."""
    return [m for m in mappings(pid) if m.rights == "rw-p" and m.path in ("", "[heap]")]


def state_of(pid: int) -> list[Mapping]:
    return [m for m in mappings(pid) if m.path.startswith("/memfd:neat:state")]
