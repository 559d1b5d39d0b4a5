"""The file of what was learned: written now and then, replaced whole, and no reason not to start."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from skipjoin.scheduler.lengths.learned import read, write
from skipjoin.serving.worker.learned_file import PERIOD_NS, LearnedFile, place_of

DATA = LearnedFile(None).load()


def test_its_place_is_beside_the_pool_and_nowhere_for_memory(tmp_path: Path) -> None:
    assert place_of(tmp_path / "jobs.sqlite") == tmp_path / "jobs.sqlite.learned"
    assert place_of(None) is None
    LearnedFile(None).write(lambda: pytest.fail("nobody keeps it"))


def test_every_server_begins_with_a_salt_of_its_own() -> None:
    assert LearnedFile(None).load() != DATA
    assert read(DATA).rebuilds == 0


def test_it_comes_back_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "learned"
    LearnedFile(path).write(lambda: DATA)
    assert LearnedFile(path).load() == DATA == write(read(DATA))
    assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_written_once_a_period(tmp_path: Path) -> None:
    file, written = LearnedFile(tmp_path / "learned"), []

    def learned() -> bytes:
        written.append(1)
        return DATA

    for now_ns in (5, PERIOD_NS, PERIOD_NS + 5, PERIOD_NS + 6, 2 * PERIOD_NS, 2 * PERIOD_NS + 5):
        file.keep(now_ns, learned)
    assert len(written) == 2


@pytest.mark.parametrize("text", [b"", b"{}", DATA[:-9], DATA.replace(b'"learned":1', b'"learned":9')])
def test_a_file_that_cannot_be_used_is_said_and_left(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "learned"
    path.write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert read(LearnedFile(path).load()).rebuilds == 0
    assert "learned anew" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_a_folder_that_is_gone_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = LearnedFile(tmp_path / "gone" / "learned")
    with caplog.at_level(logging.WARNING):
        file.write(lambda: DATA)
        file.write(lambda: DATA)
    assert len(caplog.records) == 1
