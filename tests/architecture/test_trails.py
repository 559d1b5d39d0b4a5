"""The trails of docs/architecture.md: short, and in the code as the page says."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import state_rules as rules
from doc_rules import SPAN

MOST_FILES = {"A token, from the sampler to the client": 5, "A demotion under `adaptive`": 4}
"""How many files a trail may have. A new trail says its bound here."""

_TRAIL = re.compile(r"^### (.+)$", re.MULTILINE)


def _trails(page: str) -> dict[str, list[list[str]]]:
    """The rows of each trail, by its head."""
    _, _, section = page.partition("## Trails")
    parts = _TRAIL.split(section)
    return {head: rules.tables(body)[0] for head, body in zip(parts[1::2], parts[2::2], strict=True)}


def _check(rows: list[list[str]], root: Path, most: int) -> list[str]:
    """Names are there, each word that is handed on stands in both files, and the trail is short."""
    offences = [offence for row in rows for offence in rules.check_names(row[0], root)]
    files = [rules.references(row[0])[0][0] for row in rows if rules.references(row[0])]
    if len(set(files)) > most:
        offences.append(f"{len(set(files))} files are opened, more than {most}")
    for at, (row, after) in enumerate(itertools.pairwise(rows)):
        words = SPAN.findall(row[-1])
        if not words:
            offences.append(f"row {at} hands nothing on")
        for word in words:
            for cell in (row[0], after[0]):
                file = rules.references(cell)[0][0]
                if (root / file).is_file() and not re.search(rf"\b{re.escape(word)}\b", (root / file).read_text()):
                    offences.append(f"{file} has no {word}")
    return offences


def test_every_trail_is_short_and_true(checkout: Path) -> None:
    trails = _trails((checkout / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert trails.keys() == MOST_FILES.keys()
    offences = [offence for head, rows in trails.items() for offence in _check(rows, checkout, MOST_FILES[head])]
    assert not offences, "\n".join(offences)


PAGE = """## Trails
### One
| file | what | hands on |
|---|---|---|
| `a.py: begin` | x | `Thing` |
| `b.py: end` | y | - |
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a.py: begin", "c.py: begin", "no file c.py"),
        ("a.py: begin", "a.py: gone", "has no gone"),
        ("`Thing`", "`Other`", "b.py has no Other"),
        ("`Thing`", "-", "hands nothing on"),
        ("| `b.py: end` | y | - |", "| `b.py: end` | y | `Thing` |\n| `a.py: begin` | z | - |", ""),
    ],
)
def test_a_trail_that_is_wrong_is_flagged(old: str, new: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def begin(thing: Thing) -> None: ...\n")
    (tmp_path / "b.py").write_text("def end(thing: Thing) -> None: ...\n")
    (good,) = _trails(PAGE).values()
    assert _check(good, tmp_path, 2) == []
    assert _check(good, tmp_path, 1) == ["2 files are opened, more than 1"]
    (rows,) = _trails(PAGE.replace(old, new)).values()
    offences = _check(rows, tmp_path, 2)
    assert any(says in offence for offence in offences) if says else offences == []
