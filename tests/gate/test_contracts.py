"""A .pxd is a contract: it has what others cimport, and what that needs (CONTRIBUTING.md, "How we write")."""

import re
from pathlib import Path

from tests.gate.sources import files
from tests.support import ROOT

FROM = re.compile(r"^from ([\w.]+) cimport (\([^)]*\)|[^\n]*)", re.MULTILINE)
STRINGS_AND_COMMENTS = re.compile(r'"""(?:.|\n)*?"""|"[^"\n]*"|#[^\n]*')


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "neat" else ("neat", *parts))


def bare(path: Path) -> str:
    return STRINGS_AND_COMMENTS.sub("", path.read_text())


def cimports(code: str) -> set[tuple[str, str, str]]:
    """(module, name there, name here) of each."""
    found = set()
    for match in FROM.finditer(code):
        for part in match[2].strip("()").split(","):
            if words := part.split():
                found.add((match[1], words[0], words[-1]))
    return found


def wanted_elsewhere() -> set[tuple[str, str]]:
    """(module, name) of all that somebody cimports."""
    return {(there, name) for path in files(".pyx", ".pxd") for there, name, _ in cimports(bare(path))}


def test_what_a_contract_cimports_it_uses_or_hands_on() -> None:
    wanted = wanted_elsewhere()
    errors = []
    for path in files(".pxd"):
        code = bare(path)
        words = set(re.findall(r"\w+", FROM.sub("", code)))
        for _there, _name, here in sorted(cimports(code)):
            if here not in words and (module(path), here) not in wanted:
                errors.append(f"{path.relative_to(ROOT)} cimports {here}, and nobody uses it")
    assert not errors, "\n".join(errors)


def test_a_contract_is_of_a_compiled_module_or_of_none() -> None:
    """A .py beside a .pxd would be neither plain Python nor honest Cython."""
    assert [path for path in files(".pxd") if path.with_suffix(".py").exists()] == []
