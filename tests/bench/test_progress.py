"""The progress of a measurement as a person sees it."""

from __future__ import annotations

import sys

import pytest

from skipjoin.bench.progress import Bar


def test_where_nobody_watches_only_notes_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    with Bar() as bar:
        bar.note("a [note] with /slashes and 1.5 figures")
        bar.begin("work", 3)
        bar.ended(2)
        bar.end()
        bar.end()
    heard = capsys.readouterr()
    assert (heard.out, heard.err) == ("", "a [note] with /slashes and 1.5 figures\n")
