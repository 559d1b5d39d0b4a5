"""How many files a field of a request touches, counted by one that there is: the priority.

Counted are the files of the product in which the word `priority` stands in code: as a name, an
attribute, a keyword argument or in a string (a key, a column, a message), and .proto files that
have it outside comments. Not counted are docstrings, comments, generated messages, and the two
tables that know the policy of the same name. Clients, doors, stores and records that go through
`core.asked.OPTIONS` do not count, because they take in a new field without an edit.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import product_files

FIELD = "priority"
MOST = 8
OF_THE_POLICY = {"scheduler/registry.py", "bench/charts/looks.py"}
_WORD = re.compile(rf"\b{FIELD}\b")


def sources(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of what is counted."""
    for path in product_files(root):
        if path.suffix in (".py", ".proto") and not path.stem.endswith(("_pb2", "_pb2_grpc")):
            yield path.as_posix(), (root / path).read_text(encoding="utf-8")


def spells(path: str, text: str) -> bool:
    """Whether the field stands in the code of a file."""
    if path.endswith(".proto"):
        return any(_WORD.search(line.partition("//")[0]) for line in text.splitlines())
    if _WORD.search(text) is None:
        return False
    said = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return any(
        (token.type == tokenize.NAME and token.string == FIELD)
        or (token.type == tokenize.STRING and _WORD.search(token.string) is not None and token.start not in said)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
    )


def spelling(files: Iterator[tuple[str, str]]) -> list[str]:
    """The files that spell the field."""
    return [path for path, text in files if path not in OF_THE_POLICY and spells(path, text)]


def test_a_field_of_a_request_touches_few_files(checkout: Path) -> None:
    found = spelling(sources(checkout))
    assert {"core/asked.py", "proto/job_pool.proto", "scheduler/baselines.py"} <= set(found)
    assert len(found) <= MOST, "what carries a request holds core.asked.Asked whole: " + ", ".join(found)


def test_files_that_copy_the_field_are_counted(checkout: Path) -> None:
    copying = [(f"serving/planted_{n}.py", "rank = job.priority\n") for n in range(MOST)]
    assert len(spelling(iter([*sources(checkout), *copying]))) > MOST


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", "class Row:\n    priority: int = 0\n"),
        ("a.py", "rank = job.priority\n"),
        ("a.py", "make(priority=1)\n"),
        ("a.py", "def make(priority: int) -> None: ...\n"),
        ("a.py", 'rank = row["priority"]\n'),
        ("a.py", "say = f'the priority is {x}'\n"),
        ("a.py", 'SQL = """\nSELECT seq, priority FROM job\n"""\n'),
        ("a.proto", "message A {\n  sint32 priority = 7;\n}\n"),
    ],
)
def test_every_spelling_is_seen(path: str, text: str) -> None:
    assert spells(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.py", '"""The priority of a job."""\n'),
        ("a.py", 'class A:\n    x: int\n    """Not the priority."""\n'),
        ("a.py", "x = 1  # no priority\n"),
        ("a.py", "check_priority(Priority, priorities)\n"),
        ("a.proto", "// The priority.\nmessage A {}\n"),
    ],
)
def test_prose_and_other_words_are_not(path: str, text: str) -> None:
    assert not spells(path, text)
