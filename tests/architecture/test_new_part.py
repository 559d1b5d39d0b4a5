"""How many files a family with a new part touches, counted by one that there is: OLMo 2, which came
when decoders were made of parts already and brought two.

Counted is every file of the product, the tests and the docs that says the family's name or that of
one of its parts. Decisions are history, and do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from source_tree import product_files

PARTS = ("WideRmsNorm", "AllHeads")
_NAMES = re.compile(rf"olmo[ -]?2|{'|'.join(PARTS)}", re.IGNORECASE)
BESIDE_PARTS = 4
"""The family's row, the list of families, the page of models, the shapes of its tests. With one new
part that makes five files.
"""


def mentions(root: Path) -> Iterator[str]:
    """The files that are counted and say a name."""
    written = (*product_files(root), *(path.relative_to(root) for path in _beside(root)))
    for path in sorted(set(written)):
        if path.suffix in (".py", ".pyi", ".md") and _NAMES.search((root / path).read_text(encoding="utf-8")):
            yield path.as_posix()


def _beside(root: Path) -> Iterator[Path]:
    yield from (path for path in (root / "tests").rglob("*.py") if path.name != Path(__file__).name)
    yield from (root / "docs").glob("*.md")


def test_a_family_touches_four_files_and_one_for_each_new_part(checkout: Path) -> None:
    found = list(mentions(checkout))
    assert {"model/families/olmo2.py", "docs/models.md", "model/parts/attention.py"} <= set(found)
    assert len(found) <= BESIDE_PARTS + len(PARTS), found
