"""Crash reports as files, which outlive their stack: `crash-N.json`, and `crash-N.pcap` where a packet is to
blame. Any program that may read them does; `neat crashes` is one."""

import contextlib
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

from neat.drivers.tap import VNET_BYTES

MOST_REPORTS = 64  # files of 20 KiB, and of 66 KiB for a packet
PREFIX = "crash-"
LINKTYPE_ETHERNET = 1
SNAPLEN = 262_144
# pcap's file header and record header (draft-ietf-opsawg-pcap §4, §5)
FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET)


def numbers(directory: Path) -> list[int]:
    """Of the reports that there are, oldest first."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = [name.removeprefix(PREFIX).removesuffix(".json") for name in names if name.endswith(".json")]
    return sorted(int(text) for text in found if text.isdecimal())


def add(directory: Path, report: dict[str, Any], record: bytes) -> int:
    """A new report: its number. `record`: what a ring had of the frame, or nothing. The oldest make room.
    Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    known = numbers(directory)
    number = known[-1] + 1 if known else 1
    for old in known[: max(0, len(known) + 1 - MOST_REPORTS)]:
        remove(directory, old)
    has_frame = len(record) > VNET_BYTES
    if has_frame:
        _write(pcap_path(directory, number), pcap(record[VNET_BYTES:]))
    whole = {"number": number} | report | {"pcap": has_frame}
    _write(directory / f"{PREFIX}{number}.json", json.dumps(whole, indent=1).encode())
    return number


def read(directory: Path, number: int) -> dict[str, Any] | None:
    """One report, with `pcap` a path or None; None when there is none, or what is there is no report."""
    try:
        report = json.loads((directory / f"{PREFIX}{number}.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(report, dict):
        return None
    path = pcap_path(directory, number)
    return report | {"number": number, "pcap": str(path) if report.get("pcap") else None}


def remove(directory: Path, number: int) -> None:
    for path in (directory / f"{PREFIX}{number}.json", pcap_path(directory, number)):
        with contextlib.suppress(OSError):
            path.unlink()


def pcap_path(directory: Path, number: int) -> Path:
    return directory / f"{PREFIX}{number}.pcap"


def pcap(frame: bytes) -> bytes:
    """A capture file of one Ethernet frame, taken just now."""
    now = time.time_ns() // 1000
    record = struct.pack("<IIII", now // 1_000_000, now % 1_000_000, len(frame), len(frame))
    return FILE_HEADER + record + frame


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for nobody else: packets have other people's words in them."""
    part = path.with_suffix(".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.replace(part, path)
