"""Lines are on disk as they come, and an older file stays until all have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skipjoin.bench.json_file import json_lines
from skipjoin.core.errors import InvalidInput


def test_the_older_file_stays_until_the_last_line_is_there(tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    out.write_text("older")
    with json_lines(str(out)) as add:
        add({"a": 1})
        assert json.loads(part.read_text()) == {"a": 1} and out.read_text() == "older"
        add({"b": 2})
    assert out.read_text() == '{"a": 1}\n{"b": 2}\n' and not part.exists()


def test_what_ends_early_keeps_both(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("older")

    def interrupted() -> None:
        with json_lines(str(out)) as add:
            add({"a": 1})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.read_text() == "older" and (tmp_path / "out.jsonl.part").read_text() == '{"a": 1}\n'


def test_what_is_no_plain_file_is_written_to_itself(tmp_path: Path) -> None:
    with json_lines("/dev/null") as add:
        add({"a": 1})
    assert not Path("/dev/null.part").exists() and not Path("/dev/null").is_file()


def test_nowhere_is_a_place() -> None:
    with json_lines(None) as add:
        add({"a": 1})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_at_the_line_that_did_not_fit() -> None:
    with (
        pytest.raises(InvalidInput, match="--json cannot be written: No space"),
        json_lines("/dev/full") as add,
    ):
        add({"a": 1})


def test_no_place_is_told_before_the_work(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInput, match=f"--json cannot be written: {os.strerror(2)}"),
        json_lines(str(tmp_path / "none" / "out")),
    ):
        raise AssertionError("the work began")
