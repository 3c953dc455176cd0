"""The project's own files, as people wrote them."""

from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

FOLDERS = ("neat", "drivers", "tools", "tests", "docs", "scripts")


def is_generated(path: Path) -> bool:
    """C that Cython has written beside its module; what the build has made of the headers in neat/abi."""
    if path.parent == ROOT / "neat/abi" and (path.suffix == ".pxd" or path.name == "table.h"):
        return True
    return path.suffix == ".c" and (path.with_suffix(".py").exists() or path.with_suffix(".pyx").exists())


def files(*suffixes: str) -> Iterator[Path]:
    """Those with these suffixes, below the project's folders and at its root. A folder that is a link to
    another one is met once."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    links = [path for path in (ROOT / "neat").iterdir() if path.is_symlink()]
    for path in sorted(found):
        linked = any(link in path.parents for link in links)
        if path.suffix in suffixes and not linked and not is_generated(path):
            yield path
