"""What the documents name is there: files that they link to, files and names of the code that they quote.

Whether a sentence is true only a reader can say; that its words still mean something can be checked.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.gate.sources import files
from tests.support import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = (".c", ".h", ".py", ".pyx", ".pxd")
A_FILE = re.compile(r"[\w./-]*\w\.(?:c|h|py|pyx|pxd|md|toml|txt)")
A_FUNCTION = re.compile(r"(\w+)\(\)")
A_CONSTANT = re.compile(r"(?:NEAT|SLOT|FLOW|RECORD|END|EV)_[A-Z0-9_]+")
WORD = re.compile(r"\w+")
# What no longer exists is named in them on purpose.
HISTORY = ("docs/decisions/", "CHANGELOG.md")
# Examples, and files that are others'.
NOT_OURS = {"site.conf", "test_some.py"}

CITED = re.compile(r'(\w+\.md),\s+"([^"]+)"')


def documents() -> list[Path]:
    return list(files(".md"))


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path, text: str) -> list[str]:
    broken = []
    for target in LINK.findall(FENCE.sub("", text)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        to = (document.parent / path).resolve() if path else document
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            broken.append(target)
    return broken


@cache
def paths() -> frozenset[str]:
    """All files of the project, and what is left of their paths when folders are left out from the front."""
    suffixes = (*CODE, ".md", ".toml", ".txt", ".sh")
    parts = [path.relative_to(ROOT).parts for path in files(*suffixes)]
    # neat.drivers and neat.tools are links.
    parts += [("neat", *path) for path in parts if path[0] in ("drivers", "tools")]
    return frozenset("/".join(path[i:]) for path in parts for i in range(len(path)))


def missing_files(text: str) -> list[str]:
    quoted = [word for words in QUOTED.findall(FENCE.sub("", text)) for word in words.split()]
    named = [word.rstrip(":,").partition(":")[0] for word in quoted]
    found = [name for name in named if A_FILE.fullmatch(name) and not name.startswith(("/", "~", "."))]
    return [name for name in found if name not in paths() and name not in NOT_OURS]


@cache
def code_words() -> frozenset[str]:
    ours = Path(__file__).parent
    texts = [path.read_text() for path in files(*CODE) if ours not in path.parents]
    return frozenset(word for text in texts for word in WORD.findall(text))


def unknown_names(text: str) -> list[str]:
    """Functions and constants that no source has."""
    names = []
    for words in QUOTED.findall(FENCE.sub("", text)):
        names += A_FUNCTION.findall(words) + A_CONSTANT.findall(words)
    return [name for name in names if name not in code_words() and not name.endswith("_")]


def glossary() -> list[tuple[str, str]]:
    """(word, file that defines it) of each row."""
    path = ROOT / "docs" / "glossary.md"
    rows = [line.split("|") for line in path.read_text().splitlines() if line.startswith("| **")]
    return [(row[1].strip().strip("*"), row[3].strip().strip("`")) for row in rows]


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document, document.read_text()) == []


@pytest.mark.parametrize(
    "document", [d for d in documents() if not name_of(d).startswith(HISTORY)], ids=name_of
)
def test_what_is_quoted_is_there(document: Path) -> None:
    text = document.read_text()
    assert missing_files(text) == []
    assert unknown_names(text) == []


def test_sections_that_the_code_cites_are_there() -> None:
    """Like `ARCHITECTURE.md, "The engine"`; perhaps over two lines of a comment."""
    headings = {
        document.name: set(re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE))
        for document in documents()
        if document.parent in (ROOT, ROOT / "docs/contracts")
    }
    errors = []
    for path in files(*CODE):
        text = re.sub(r"\n[ \t]*(?:\*|#)?[ \t]*", " ", path.read_text())
        for document, section in CITED.findall(text):
            if document in headings and section not in headings[document]:
                errors.append(f"{path.relative_to(ROOT)}: {document}, {section}")
    assert errors == []


def test_each_word_of_the_glossary_is_used_where_it_says() -> None:
    rows = glossary()
    assert len(rows) > 20
    strays = []
    for word, where in rows:
        path = ROOT / where
        # Within names, too: FLOW_FADING, RECORD_OWN_FRAME.
        used = r"(?<![a-z])" + re.escape(word).replace(r"\ ", "[ _]")
        if not path.exists() or not re.search(used, path.read_text(), re.IGNORECASE):
            strays.append((word, where))
    assert strays == []


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_diagrams_are_drawn(document: Path) -> None:
    """A semicolon ends a statement of mermaid, whatever stands around it."""
    diagrams = re.findall(r"^```mermaid$.*?^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    assert [diagram for diagram in diagrams if ";" in diagram] == []


def test_each_folder_of_tests_is_explained() -> None:
    explained = QUOTED.findall((ROOT / "tests/README.md").read_text())
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - set(explained) == set()


def test_the_glossary_is_in_order() -> None:
    words = [word.lower() for word, _where in glossary()]
    assert words == sorted(words)


@pytest.mark.parametrize(
    ("text", "links", "missing", "unknown"),
    [
        ("[a](README.md) [b](https://example.org/x) `README.md` `neat/config.py`", [], [], []),
        ("[a](NOTHING.md)", ["NOTHING.md"], [], []),
        ("[a](README.md#no-such-heading)", ["README.md#no-such-heading"], [], []),
        ("`neat/nothing.py` and `stack/nothing.pxd`: no", [], ["neat/nothing.py", "stack/nothing.pxd"], []),
        ("`neat/config.py:12`, `config.py`, `shm/segment.py`", [], [], []),
        ("`no_such_function()`, `NEAT_NO_SUCH_THING`", [], [], ["no_such_function", "NEAT_NO_SUCH_THING"]),
        ("`from_argv()`, `NEAT_REQ_CLOSE`, `NEAT_BIND_*`", [], [], []),
        ("```\n[a](NOTHING.md) `nothing.py`\n```", [], [], []),
    ],
)
def test_what_is_found(text: str, links: list[str], missing: list[str], unknown: list[str]) -> None:
    assert broken_links(ROOT / "text.md", text) == links
    assert missing_files(text) == missing
    assert unknown_names(text) == unknown
