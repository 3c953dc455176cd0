"""How much compiled code each component of the stack has, from the symbol tables of its modules (ELF64)."""

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import neat

ROOT = Path(neat.__file__).resolve().parent
# Where a module's code works, by how its name begins; the longest that fits. What is in none is in no
# packet's way, or for tests only.
PARTS = {
    "drivers.": "driver",
    "stack.tcp.": "tcp",
    "stack.": "ip",
    "stack.udp": "udp",
    "stack.filter": "filter",
    "replica.": "replica",
    "replica.ip": "ip",
    "shm.filter": "filter",
    "shm.": "shared",
    "wire.": "shared",
}
NOT_RUN = ("stack.bench", "stack.lab", "shm.testing", "shm.py", "drivers.py", "drivers.echo")
OURS = b"__pyx_f_"  # functions that we wrote; the rest of a module is for Python
SHT_SYMTAB, STT_FUNC = 2, 2


def functions(path: Path) -> Iterator[tuple[bytes, int]]:
    """(name, bytes) of each function of an ELF64 little-endian file; none where there is no symbol table."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + n * size) for n in range(count)]
    for header in headers:
        if header[1] != SHT_SYMTAB:
            continue
        names = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], 24):
            name, info, _, _, _, length = struct.unpack_from("<IBBHQQ", data, at)
            if info & 0xF == STT_FUNC and length:
                end = data.index(b"\0", names + name)
                yield data[names + name : end], length


def part_of(module: str) -> str:
    """Of a module's name without `neat.`; "" for none."""
    if module.startswith(NOT_RUN):
        return ""
    starts = [start for start in PARTS if module.startswith(start)]
    return PARTS[max(starts, key=len)] if starts else ""


def sizes(root: Path = ROOT) -> dict[str, int]:
    """Part → bytes of its code."""
    found: Counter[str] = Counter()
    for folder in ("drivers", "stack", "replica", "shm", "wire"):
        place = (root / folder).resolve()
        for path in place.rglob("*.so"):
            inner = path.relative_to(place).with_name(path.name.partition(".")[0])
            if part := part_of(".".join((folder, *inner.parts))):
                found[part] += sum(length for name, length in functions(path) if name.startswith(OURS))
    return dict(found)
