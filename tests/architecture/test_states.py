"""The pages of docs/states say what the code has, and each check of that can fail.

Runs every check of `state_rules` on the pages against the code, and on planted texts that break
exactly one rule.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import pytest
import state_rules as rules

from skipjoin.core.job import FinishReason, JobState, LevelCause
from skipjoin.core.view import JobEventKind
from skipjoin.engine.rows import Phase
from skipjoin.kvstore.table import Residency
from skipjoin.proto import job_pool_pb2 as pb

STATE_PAGES = ("pool", "door", "engine", "scheduler", "kv")
OTHER_PAGES = ("README", "cancellation")
MIRRORED = {"JobState": pb.JobState, "FinishReason": pb.FinishReason, "LevelCause": pb.LevelCause}
"""Enums of core/job.py that the wire has too."""


def _page(checkout: Path, name: str) -> str:
    return (checkout / "docs" / "states" / f"{name}.md").read_text(encoding="utf-8")


def _members(enum: type[Enum]) -> list[str]:
    return [one.name for one in enum]


def _enums() -> dict[str, list[str]]:
    return {
        "core/job.py: JobState": _members(JobState),
        "core/job.py: FinishReason": _members(FinishReason),
        "core/job.py: LevelCause": _members(LevelCause),
        "core/view.py: JobEventKind": _members(JobEventKind),
        "engine/rows.py: Phase": _members(Phase),
        "kvstore/table.py: Residency": _members(Residency),
        "kvstore/blocks.py": ["AT_REST", "GOING_OUT", "COMING_IN"],
        "kvstore/job_kv.py": ["OUT", "PREFILL", "DECODE"],
    }


def _no(offences: list[str]) -> None:
    if offences:
        pytest.fail("\n".join(offences), pytrace=False)


# the pages ------------------------------------------------------------------------------------
def test_the_pages_are_all_there_are(checkout: Path) -> None:
    found = {path.stem for path in (checkout / "docs" / "states").iterdir()}
    assert found == {*STATE_PAGES, *OTHER_PAGES}


@pytest.mark.parametrize("name", [*STATE_PAGES, *OTHER_PAGES])
def test_every_name_is_in_the_code_and_every_line_is_short(name: str, checkout: Path) -> None:
    page = _page(checkout, name)
    _no(rules.check_names(page, checkout) + rules.check_lines(page))


@pytest.mark.parametrize("name", STATE_PAGES)
def test_every_state_says_what_there_is_to_say(name: str, checkout: Path) -> None:
    page = _page(checkout, name)
    assert len(rules.sections(page)) >= 6
    _no(rules.check_sections(page, rules.LABELS))


def test_every_member_of_an_enum_has_its_section_or_row(checkout: Path) -> None:
    _no(rules.check_members({name: _page(checkout, name) for name in STATE_PAGES}, _enums()))


@pytest.mark.parametrize("name", MIRRORED)
def test_the_wire_has_the_same_states(name: str) -> None:
    """So a section of a state of the pool is that of its name on the wire, too."""
    core = {"JobState": JobState, "FinishReason": FinishReason, "LevelCause": LevelCause}[name]
    prefix = "".join(f"_{char}" if char.isupper() else char.upper() for char in name)[1:]
    names = ["UNSPECIFIED", *_members(core)]
    assert MIRRORED[name].keys() == [f"{prefix}_{one}" for one in names]


def test_every_state_has_its_row_of_cancellation(checkout: Path) -> None:
    states = [head for name in STATE_PAGES for head, _ in rules.sections(_page(checkout, name))]
    assert len(states) == len(set(states))
    _no(rules.check_cancellation(_page(checkout, "cancellation"), states))


def test_something_was_read(checkout: Path) -> None:
    """A check over nothing would always pass."""
    pages = [_page(checkout, name) for name in (*STATE_PAGES, *OTHER_PAGES)]
    assert sum(len(rules.references(page)) for page in pages) > 200
    assert len([row for table in rules.tables(pages[-1]) for row in table]) > 30


# planted offences -----------------------------------------------------------------------------
CODE = """class Table(Base):
    limit: int = 3
    __slots__ = ("blocks",)
    def __init__(self) -> None:
        self.blocks, self.count = [], 0
        self.full: bool = False
        other.strange = 1
    @property
    def free(self) -> int: ...
AT_REST, GOING = 0, 1
KNOWN: int = 1
async def apply() -> None: ...
"""
PROTO = """enum State {
  STATE_HERE = 1;
}

service Pool {
  rpc Submit(A) returns (B);
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "kv").mkdir()
    (tmp_path / "kv" / "table.py").write_text(CODE)
    (tmp_path / "kv" / "wire.proto").write_text(PROTO)
    return tmp_path


@pytest.mark.parametrize("attribute", ["limit", "blocks", "count", "full", "free"])
def test_an_attribute_that_is_there_passes(attribute: str, root: Path) -> None:
    assert rules.check_names(f"`kv/table.py: Table.{attribute}`", root) == []


@pytest.mark.parametrize("name", ["Table", "AT_REST", "GOING", "KNOWN", "apply"])
def test_a_name_that_is_there_passes(name: str, root: Path) -> None:
    assert rules.check_names(f"`kv/table.py: {name}` and `kv/table.py`", root) == []


@pytest.mark.parametrize("name", ["State", "State.STATE_HERE", "Pool.Submit"])
def test_a_name_of_the_wire_that_is_there_passes(name: str, root: Path) -> None:
    assert rules.check_names(f"`kv/wire.proto: {name}`", root) == []


@pytest.mark.parametrize(
    ("span", "says"),
    [
        ("kv/gone.py: Table", "no file"),
        ("kv/gone.py", "no file"),
        ("kv/table.py: Tables", "has no Tables"),
        ("kv/table.py: Table.gone", "has no Table.gone"),
        ("kv/table.py: Table.strange", "has no Table.strange"),
        ("kv/table.py: blocks", "has no blocks"),
        ("kv/table.py: Base", "has no Base"),
        ("kv/table.py Table", "neither a file nor"),
        ("kv/table.py: Table.blocks.more", "neither a file nor"),
        ("kv/wire.proto: State.STATE_GONE", "has no State.STATE_GONE"),
        ("kv/wire.proto: Pool.Gone", "has no Pool.Gone"),
    ],
)
def test_a_wrong_name_is_flagged(span: str, says: str, root: Path) -> None:
    assert any(says in offence for offence in rules.check_names(f"x `{span}` y", root))


SECTION = """# Page
| kind | what |
|---|---|
| `a.py: K.B` | |

## Here

* **Name** `a.py: E.A`
* **In** by
  day
* **Out** by night
"""


def test_a_member_without_or_with_two_sections_is_flagged() -> None:
    assert rules.check_members({"p": SECTION}, {"a.py: E": ["A"], "a.py: K": ["B"]}) == []
    forgotten = rules.check_members({"p": SECTION}, {"a.py: E": ["A", "C"]})
    assert forgotten == ["a.py: E.C has no section or row"]
    twice = rules.check_members({"p": SECTION, "q": SECTION}, {"a.py: E": ["A"]})
    assert twice == ["a.py: E.A has 2 section or row"]
    elsewhere = rules.check_members({"p": "## A\n* **In** `a.py: A`\n"}, {"a.py": ["A"]})
    assert elsewhere == ["a.py: A has no section or row"]


def test_a_section_that_leaves_something_out_is_flagged() -> None:
    assert rules.check_sections(SECTION, ["In", "Out"]) == []
    assert rules.check_sections(SECTION, ["In", "Client"]) == ["Here does not say: Client"]
    assert rules.check_sections("## A\n* **In**\n", ["In"]) == ["A does not say: In"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x" * 101, "101 columns"),
        ("a `span", "breaks a code span"),
    ],
)
def test_a_line_that_is_too_long_or_breaks_a_name_is_flagged(line: str, says: str) -> None:
    assert any(says in offence for offence in rules.check_lines(f"good `a.py: A`\n{line}\n"))
    assert rules.check_lines(f"{'x' * 100}\n```\n") == []


NOTES = "## ends\n\n* **Code** `a.py: A`\n* **Client** c\n* **Pool** p\n"
CANCELS = f"""
| s | a | b |
|---|---|---|
| One | ends | - |

| s | a |
|---|---|
| Two | ends |

{NOTES}"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CANCELS.replace("| Two | ends |\n", ""), "Two has no row"),
        (CANCELS.replace("| Two | ends |\n", "| Two | ends |\n| One | ends |\n"), "One has 2 row"),
        (CANCELS.replace("| Two |", "| Too |"), "Too is a row and no state"),
        (CANCELS.replace("| Two | ends |", "| Two | end |"), "'end', which no section explains"),
        (CANCELS + NOTES.replace("ends", "idle"), "no cell says 'idle'"),
        (CANCELS.replace("* **Pool** p\n", ""), "ends does not say: Pool"),
        (CANCELS.replace("`a.py: A`", "code"), "ends names no code"),
    ],
)
def test_a_wrong_table_of_cancellation_is_flagged(text: str, says: str) -> None:
    assert rules.check_cancellation(CANCELS, ["One", "Two"]) == []
    assert any(says in offence for offence in rules.check_cancellation(text, ["One", "Two"]))
