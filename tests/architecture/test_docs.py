"""README and docs say what is so, and each check of that can fail.

Runs every check of `doc_rules` on the documents of the checkout against the product itself, and on
planted texts that break exactly one rule.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import doc_rules as rules
import pytest

from skipjoin import cli
from skipjoin.core.errors import by_code
from skipjoin.engine.params import EngineParams
from skipjoin.kvstore.params import KvParams
from skipjoin.proto.status import grpc_code, http_status
from skipjoin.scheduler.params import LadderParams
from skipjoin.serving.door.metrics import Metrics
from skipjoin.serving.settings import ServeSettings

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/decisions/*.md", "docs/states/*.md")
OF_THE_PRODUCT = (
    "README.md",
    "docs/algorithm.md",
    "docs/architecture.md",
    "docs/operations.md",
    "docs/wire.md",
    "docs/states/cancellation.md",
)


LONGEST_PROSE = 100


def _documents(checkout: Path) -> list[Path]:
    found = [path for pattern in DOCUMENTS for path in sorted(checkout.glob(pattern))]
    assert len(found) > 5
    return found


def _read(checkout: Path, name: str) -> str:
    return (checkout / name).read_text(encoding="utf-8")


def _no(offences: list[str]) -> None:
    if offences:
        pytest.fail("\n".join(offences), pytrace=False)


@pytest.fixture(scope="module")
def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers that the command line itself uses."""
    made = {}
    for command in cli.COMMANDS:
        if command.exists:
            made[command.name] = argparse.ArgumentParser(prog=command.name)
            command.load().configure(made[command.name])
            for below in (rules.words_below(made[command.name]) or {}).values():
                with suppress(SystemExit):
                    below.parse_known_args([])  # the flags of some are added when they are chosen
    assert "serve" in made
    return made


def _metrics() -> list[str]:
    lines = Metrics().render().decode().splitlines()
    return [line.split()[2] for line in lines if line.startswith("# TYPE ")]


def _settings() -> dict[str, tuple[str, ...]]:
    return {
        name: (rules.default(field.default), rules.bounds(field.metadata))
        for name, field in ServeSettings.model_fields.items()
    }


def _parameters() -> dict[str, tuple[str, ...]]:
    classes = {"engine": EngineParams, "ladder": LadderParams, "kv": KvParams}
    return {
        f"{prefix}.{field.name}": (rules.default(field.default),)
        for prefix, owner in classes.items()
        for field in fields(owner)
        if field.name not in classes
    }


def _errors() -> dict[str, tuple[str, ...]]:
    return {
        code: (grpc_code(error).name, str(http_status(error)), str(error.exit_code))
        for code, error in by_code().items()
    }


# the product's documents
# --------------------------------------------------------------------------------------------
def test_links_lead_somewhere(checkout: Path) -> None:
    _no([offence for path in _documents(checkout) for offence in rules.check_links(path, checkout)])


def test_prose_stands_within_a_hundred_columns(checkout: Path) -> None:
    texts = ((path.name, path.read_text(encoding="utf-8")) for path in _documents(checkout))
    _no([f"{name}: {offence}" for name, text in texts for offence in rules.check_width(text, LONGEST_PROSE)])


def test_files_are_there(checkout: Path) -> None:
    pages = [path for path in _documents(checkout) if path.parent.name != "decisions"]
    _no([offence for path in pages for offence in rules.check_files(path.read_text(encoding="utf-8"), checkout)])


def test_metrics_are_told_of(checkout: Path) -> None:
    _no(rules.check_metrics(_read(checkout, "docs/operations.md"), _metrics()))


def test_settings_are_told_of_with_defaults_and_bounds(checkout: Path) -> None:
    _no(rules.check_table(rules.rows(_read(checkout, "docs/operations.md"), "## Settings"), _settings()))


def test_parameters_are_told_of_with_defaults(checkout: Path) -> None:
    _no(rules.check_table(rules.rows(_read(checkout, "docs/algorithm.md"), "## Parameters"), _parameters()))


def test_every_error_has_its_row(checkout: Path) -> None:
    _no(rules.check_table(rules.rows(_read(checkout, "docs/wire.md"), "## Errors"), _errors()))


@pytest.mark.parametrize("name", OF_THE_PRODUCT)
def test_commands_and_flags_exist(name: str, checkout: Path, parsers: dict[str, argparse.ArgumentParser]) -> None:
    text = _read(checkout, name)
    _no(
        [offence for words in rules.command_lines(text) for offence in rules.check_command(words, parsers)]
        + rules.check_flags(text, rules.all_flags(parsers))
    )


def test_python_can_be_run(checkout: Path) -> None:
    _no([offence for path in _documents(checkout) for offence in rules.check_python(path.read_text(encoding="utf-8"))])


def test_something_was_read(checkout: Path) -> None:
    """A check over nothing would always pass."""
    texts = [_read(checkout, name) for name in OF_THE_PRODUCT]
    assert sum(len(list(rules.command_lines(text))) for text in texts) > 20
    assert sum(len(rules.blocks(text, "python")) for text in texts) >= 2
    assert sum(len(rules.LINK.findall(text)) for text in texts) > 10
    assert min(len(_metrics()), len(_settings()), len(_errors())) > 20


# planted offences
# ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("link", "says"),
    [("gone.md", "leads nowhere"), ("../../outside.md", "leads nowhere"), ("there.md#no-such", "a heading"),
     ("#no", "a heading")],
)  # fmt: skip
def test_a_broken_link_is_flagged(link: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").write_text("# Head line, and more\n```\n# no heading\n```\n")
    page = tmp_path / "docs" / "page.md"
    page.write_text(f"# Page\nSee [it]({link}).\n")
    assert [offence for offence in rules.check_links(page, tmp_path) if says in offence]
    page.write_text("[a](there.md) [b](there.md#head-line-and-more) [c](#page) [d](https://host.example/x)\n# Page\n")
    assert rules.check_links(page, tmp_path) == []


def test_a_long_line_is_flagged() -> None:
    fitting = "ab cd\n| a table | of any width |\n```\ncode of any width\n```\n* [no-place-to-break](it)\n"
    assert rules.check_width(fitting, 5) == []
    assert rules.check_width(fitting + "ab cde\n", 5) == ["more than 5 columns: ab cde"]


def test_a_file_that_is_not_there_is_flagged(tmp_path: Path) -> None:
    (tmp_path / "kv").mkdir()
    for name in ("walk.py", "room.py"):
        (tmp_path / "kv" / name).touch()
    assert rules.check_files("`kv/walk.py` and `room.py`, `python kv/gone.py`, `gone.md`", tmp_path) == []
    assert rules.check_files("`kv/walk.py` and `gone.py`", tmp_path) == ["there is no gone.py (in kv)"]
    assert rules.check_files("`kv/gone.py`", tmp_path) == ["there is no kv/gone.py (in kv)"]
    assert rules.check_files("`walk.py`", tmp_path) == ["there is no walk.py (in .)"]


def test_a_forgotten_and_an_invented_metric_are_flagged() -> None:
    exported = ["skipjoin_a_total", "skipjoin_b_seconds"]
    assert rules.check_metrics("skipjoin_a_total, `skipjoin_b_seconds_bucket` and skipjoin_b_seconds", exported) == []
    assert rules.check_metrics("skipjoin_a_total", exported) == ["skipjoin_b_seconds is not told of"]
    assert rules.check_metrics("skipjoin_a_total skipjoin_b_seconds skipjoin_c", exported) == [
        "skipjoin_c is no metric"
    ]


TABLE = (
    "x\n## Settings\n\ntext\n\n| s | d |\n|---|---|\n| `one` | `1` | more |\n| `two` | - |\n\n| other | table "
    "|\n## Next\n"
)


def test_a_wrong_table_is_flagged() -> None:
    table = rules.rows(TABLE, "## Settings")
    assert rules.check_table(table, {"one": ("1",), "two": ("-",)}) == []
    assert rules.check_table(table, {"one": ("1",), "two": ("-",), "three": ("3",)}) == ["three has no row"]
    assert rules.check_table(table, {"one": ("1",)}) == ["two is a row and there is no such field"]
    assert "the table says" in rules.check_table(table, {"one": ("2",), "two": ("-",)})[0]
    assert rules.rows(TABLE, "## Absent") == []
    assert rules.check_table([], {"one": ("1",)}) == ["one has no row"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("`skipjoin nonsense`", "no command nonsense"),
        ("`skipjoin admin nonsense`", "no nonsense below admin"),
        ("`skipjoin serve --nonsense`", "no flag --nonsense"),
        ("`skipjoin admin job ID --limit 3`", "no flag --limit"),
        ("```bash\nskipjoin serve \\\n  --nonsense 3  # a remark\n```\n", "no flag --nonsense"),
        ("```bash\nA=b skipjoin serve --model m | skipjoin\n$ skipjoin nonsense\n```\n", "no command nonsense"),
        ("`skipjoin --nonsense`", "no such flag"),
    ],
)
def test_a_command_that_is_not_there_is_flagged(
    text: str, says: str, parsers: dict[str, argparse.ArgumentParser]
) -> None:
    offences = [offence for words in rules.command_lines(text) for offence in rules.check_command(words, parsers)]
    assert any(says in offence for offence in offences), offences


def test_commands_that_are_there_are_not_flagged(parsers: dict[str, argparse.ArgumentParser]) -> None:
    text = (
        "`skipjoin --help`, `skipjoin serve --max-batch=3 --no-insecure`, `skipjoin admin jobs --state claimed`, "
        "`skipjoin admin status|kv`\n"
        "```bash\nskipjoin generate 'it is --nonsense' # and --nonsense\n```\n```\nskipjoin serves with nonsense\n```\n"
    )
    lines = list(rules.command_lines(text))
    assert len(lines) == 5
    assert [offence for words in lines for offence in rules.check_command(words, parsers)] == []


def test_a_lone_flag_that_nobody_has_is_flagged() -> None:
    assert rules.check_flags("`--here X` and `--gone`", {"--here"}) == ["--gone is a flag of no command"]


@pytest.mark.parametrize(
    ("block", "says"),
    [("def f(:\n", "does not parse"), ("from skipjoin.core.errors import Nonsense\n", "has no Nonsense")],
)
def test_python_that_cannot_run_is_flagged(block: str, says: str) -> None:
    assert any(says in offence for offence in rules.check_python(f"```python\n{block}```\n"))
    assert rules.check_python("```python\nfrom skipjoin import LLM\n```\n") == []
