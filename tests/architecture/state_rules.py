"""What the pages of states say, held against the code.

Owns the checks of docs/states: names of code, members of enums, the form of a section, the tables
of cancellation. A check takes text and facts and returns sentences, one per offence, none when all
is well. It runs no product code: names are looked up in syntax trees.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from doc_rules import SPAN

MAX_COLUMNS = 100
LABELS = ("Held by", "Always", "In", "Out", "Client", "Crash")
"""What every state's section says, each as a bullet of its own."""
NOTE_LABELS = ("Code", "Client", "Pool")
"""What every outcome of a cancel says."""
NOTHING = "-"

REFERENCE = re.compile(r"([\w/]+\.(?:py|proto)): (\w+(?:\.\w+)?)")
_FILE = re.compile(r"[\w/]+\.(?:py|proto)")
_HEAD = re.compile(r"^## (.+)$", re.MULTILINE)
_PROTO = re.compile(r"^(message|enum|service) (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_BULLET = re.compile(r"^\* \*\*(.+?)\*\*", re.MULTILINE)


# names of code --------------------------------------------------------------------------------
def references(text: str) -> list[tuple[str, str]]:
    """Every `file: Name` and `file: Name.attribute` of a page, as (file, name)."""
    return [found.groups() for span in SPAN.findall(text) if (found := REFERENCE.fullmatch(span))]


def check_names(text: str, root: Path) -> list[str]:
    """Every file that the page names is there, and has the name that the page gives it."""
    offences = []
    for span in SPAN.findall(text):
        if ".py" not in span and ".proto" not in span:
            continue
        found = REFERENCE.fullmatch(span)
        file, name = found.groups() if found else (span, "")
        if not found and not _FILE.fullmatch(span):
            offences.append(f"`{span}` is neither a file nor `file: Name.attribute`")
        elif not (root / file).is_file():
            offences.append(f"there is no file {file}")
        elif name and name not in names_in(root / file):
            offences.append(f"{file} has no {name}")
    return offences


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of a module or a proto file, and Class.attribute for what its classes hold."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".proto":
        return frozenset(_proto_names(source))
    found: set[str] = set()
    for node in ast.parse(source).body:
        found |= set(_bound(node))
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for name in _attributes(node)}
    return frozenset(found)


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module or class body gives."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def _attributes(owner: ast.ClassDef) -> Iterator[str]:
    """Fields, methods and whatever a method stores on self."""
    for node in owner.body:
        yield from _bound(node)
        for one in ast.walk(node):
            stored = isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
            if stored and isinstance(one.value, ast.Name) and one.value.id == "self":
                yield one.attr


def _proto_names(source: str) -> Iterator[str]:
    for kind, owner, body in _PROTO.findall(source):
        yield owner
        member = r"rpc (\w+)\(" if kind == "service" else r"(\w+) = \d+;"
        yield from (f"{owner}.{name}" for name in re.findall(member, body))


# members of enums -----------------------------------------------------------------------------
def check_members(pages: Mapping[str, str], enums: Mapping[str, Iterable[str]]) -> list[str]:
    """Every member has its section or its row, and one only.

    `enums`: by `file: Enum`, or by `file` for plain constants, the names of the members. A section
    has a member when its bullet Name names it, a row when its first cell does.
    """
    said = Counter(name for text in pages.values() for name in _told(text))
    joined = {owner: f"{owner}." if ": " in owner else f"{owner}: " for owner in enums}
    wanted = [joined[owner] + name for owner, names in enums.items() for name in names]
    return [f"{name} has {said[name] or 'no'} section or row" for name in wanted if said[name] != 1]


def _told(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("|"):
            yield from _spelled(line.split("|")[1])
    for _, body in sections(text):
        yield from _spelled(bullets(body).get("Name", ""))


def _spelled(text: str) -> Iterator[str]:
    yield from (f"{file}: {name}" for file, name in references(text))


# the form of a page ---------------------------------------------------------------------------
def sections(text: str) -> list[tuple[str, str]]:
    """The `##` headings of a page, each with what stands below it."""
    parts = _HEAD.split(text)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def bullets(body: str) -> dict[str, str]:
    """What stands behind each `* **Label**`."""
    parts = _BULLET.split(body)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def check_sections(text: str, labels: Iterable[str]) -> list[str]:
    """Every section has every label, with something behind it."""
    return [
        f"{head} does not say: {label}"
        for head, body in sections(text)
        for label in labels
        if not bullets(body).get(label, "").strip()
    ]


def check_lines(text: str) -> list[str]:
    """No line is too long, and none breaks a code span."""
    offences = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            offences.append(f"line {number} has {len(line)} columns")
        if line.count("`") % 2 and not line.startswith("```"):
            offences.append(f"line {number} breaks a code span")
    return offences


# the tables of cancellation -------------------------------------------------------------------
def tables(text: str) -> list[list[list[str]]]:
    """Every table of a page as rows of cells, head lines left out."""
    found: list[list[list[str]]] = []
    last = -2
    for number, line in enumerate(text.splitlines()):
        if line.startswith("|"):
            if number != last + 1:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
            last = number
    return [rows[2:] for rows in found]


def check_cancellation(text: str, states: Iterable[str]) -> list[str]:
    """Every state has one row, every outcome in a cell has its section, and no section is idle."""
    rows = [row for table in tables(text) for row in table]
    notes = {head for head, _ in sections(text)}
    used = {cell for row in rows for cell in row[1:] if cell != NOTHING}
    count = Counter(row[0] for row in rows)
    wanted = list(states)
    return [
        *(f"{state} has {count[state] or 'no'} row" for state in wanted if count[state] != 1),
        *(f"{state} is a row and no state" for state in count if state not in wanted),
        *(f"a cell says {cell!r}, which no section explains" for cell in sorted(used - notes)),
        *(f"no cell says {note!r}" for note in sorted(notes - used)),
        *check_sections(text, NOTE_LABELS),
        *_without_code(text),
    ]


def _without_code(text: str) -> Iterator[str]:
    for head, body in sections(text):
        if not references(bullets(body).get("Code", "")):
            yield f"{head} names no code"
