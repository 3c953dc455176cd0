"""Make Cython's and Python's view of the headers here, when the package is built: nothing is written twice.

    channel.h, control.h -> channel.pxd, control.pxd    what Cython modules cimport
                         -> table.h                     what layout.pyx turns into Python's view

The headers consist of macros with a value, enums, structs of integers, arrays and other structs, and
`static inline` functions. Anything else is an error, so that nothing is passed over in silence. Fields whose
names begin with `_` are padding, which Cython need not know.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = ("channel.h", "control.h")  # each includes those before it at most

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_GUARD = re.compile(r"#(?:ifndef \w+|define \w+_H|endif|include <\w+\.h>)\s*\n")
_INCLUDE = re.compile(r'#include "(\w+)\.h"\s*\n')
_MACRO = re.compile(r"#define (\w+)[ \t]+(\S.*)\n")
_ENUM = re.compile(r"enum(?: \w+)? \{([^}]*)\};")
_ENUMERATOR = re.compile(r"(\w+)(?: =[^,]*)?(?:,|\s*$)")
_STRUCT = re.compile(r"struct (\w+) \{([^}]*)\};")
_ASSERT = re.compile(r"_Static_assert\(.*?\);", re.DOTALL)
_FUNCTION = re.compile(r"static inline ([^(){};]+\([^()]*\)) \{")
_FIELD = re.compile(r"((?:struct )?\w+) ((?:\w+(?:\[[^\]]+\])*(?:, )?)+)")
_NAMES = re.compile(r"(\w+)((?:\[[^\]]+\])*)")


class NotUnderstood(ValueError):
    """A header says something that this module does not read."""


@dataclass
class Header:
    name: str  # without .h
    includes: list[str] = field(default_factory=list)
    constants: list[tuple[str, str]] = field(default_factory=list)  # type, name: macros and enumerators
    structs: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)  # type, name, dimensions
    functions: list[str] = field(default_factory=list)  # prototypes


def macro_type(value: str) -> str:
    """What Cython is to take a macro for. An `int` may size an array; bits may need more than an int."""
    if "UINT64_C" in value:
        return "uint64_t"
    return "uint32_t" if "0x" in value or "(uint32_t)" in value else "int"


def read_fields(text: str) -> list[tuple[str, str, str]]:
    fields = []
    for line in text.split(";")[:-1]:
        match = _FIELD.fullmatch(" ".join(line.split()))
        if match is None:
            raise NotUnderstood(f"a field: {line.strip()}")
        fields += [(match[1], name, dimensions) for name, dimensions in _NAMES.findall(match[2])]
    return fields


def end_of_body(text: str, at: int) -> int:
    """One beyond the brace that closes the one before `at`."""
    depth = 1
    while depth:
        if at == len(text):
            raise NotUnderstood("a function without an end")
        depth += (text[at] == "{") - (text[at] == "}")
        at += 1
    return at


def read(name: str, text: str) -> Header:
    """The declarations in the text of a header."""
    header = Header(name)
    text = _COMMENT.sub("", text).replace("\\\n", " ") + "\n"
    at = 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        if match := _GUARD.match(text, at) or _ASSERT.match(text, at):
            pass
        elif match := _INCLUDE.match(text, at):
            header.includes.append(match[1])
        elif match := _MACRO.match(text, at):
            header.constants.append((macro_type(match[2]), match[1]))
        elif match := _ENUM.match(text, at):
            header.constants += [("int", name) for name in _ENUMERATOR.findall(match[1])]
        elif match := _STRUCT.match(text, at):
            header.structs[match[1]] = read_fields(match[2])
        elif match := _FUNCTION.match(text, at):
            header.functions.append(match[1])
            at = end_of_body(text, match.end())
            continue
        else:
            raise NotUnderstood(f"{name}.h: {text[at:].splitlines()[0]}")
        at = match.end()
    return header


def pxd(header: Header, others: list[Header]) -> str:
    """The .pxd for a header; `others`: those that it may include."""
    lines = [f'"""Made from {header.name}.h by declare.py, when the package is built."""']
    lines += ["from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t"]
    used = {kind.removeprefix("struct ") for fields in header.structs.values() for kind, _, _ in fields}
    for other in others:
        if other.name in header.includes and (needed := sorted(used & set(other.structs))):
            lines.append(f"from neat.abi.{other.name} cimport {', '.join(needed)}")
    lines += ["", f'cdef extern from "abi/{header.name}.h" nogil:']
    for kind, name in header.constants:
        lines.append(f"    enum: {name}" if kind == "int" else f"    const {kind} {name}")
    for struct, fields in header.structs.items():
        lines.append(f"    struct {struct}:")
        for kind, name, dimensions in fields:
            if not name.startswith("_"):
                lines.append(f"        {kind.removeprefix('struct ')} {name}{dimensions.replace('/', '//')}")
    lines += ["    " + re.sub(r"\bstruct ", "", prototype) for prototype in header.functions]
    return "\n".join(lines) + "\n"


def table(headers: list[Header]) -> str:
    """Lists of everything, for the C preprocessor: CONSTANT(type, name), FIELD(struct, type, name)."""
    lines = ["/* Made from the headers here by declare.py, when the package is built. */"]
    for header in headers:
        lines += [f"CONSTANT({kind}, {name})" for kind, name in header.constants]
        for struct, fields in header.structs.items():
            lines += [f"FIELD({struct}, {kind}, {name})" for kind, name, _ in fields]
    return "\n".join(lines) + "\n"


def declare(where: Path = HERE) -> None:
    """Write what has changed of channel.pxd, control.pxd and table.h."""
    headers: list[Header] = []
    made = {}
    for file in HEADERS:
        header = read(Path(file).stem, (where / file).read_text())
        made[f"{header.name}.pxd"] = pxd(header, headers)
        headers.append(header)
    made["table.h"] = table(headers)
    for name, text in made.items():
        target = where / name
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
