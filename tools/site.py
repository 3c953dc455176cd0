"""A sample site: an index page, a few small files, and a big one of random bytes."""

import hashlib
import os
from pathlib import Path

INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>NEaT</title>
<style>body{font:17px/1.6 system-ui,sans-serif;max-width:40rem;margin:3rem auto;color:#222}</style>
<h1>This page came through NEaT</h1>
<p>A TCP/IP stack in ordinary processes answered your request. Which replica had your connection is decided
by a hash of its addresses and ports; the others have never heard of it.
<ul><li><a href="-/status">what the stack is doing</a> (<a href="-/status.json">JSON</a>)
<li><a href="hello.txt">hello.txt</a> <li><a href="big.bin">big.bin</a> <li><a href="files/">files/</a></ul>
"""


def make(root: Path, megabytes: int) -> dict[str, str]:
    """Write the site; the SHA-256 of each of its files, by path."""
    (root / "files").mkdir(parents=True)
    (root / "index.html").write_text(INDEX)
    (root / "hello.txt").write_text("hello from a replicated stack\n")
    for size in (0, 20, 1000, 10_000, 100_000):
        (root / "files" / f"{size}.bin").write_bytes(os.urandom(size))
    with (root / "big.bin").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    return {f"/{path.relative_to(root)}": sha256_of(path) for path in root.rglob("*") if path.is_file()}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
