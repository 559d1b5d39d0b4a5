"""Folders in which ranks of this machine met: those of killed engines go, others stay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from skipjoin.serving.worker.local_ranks import LocalRanks

LONG_AGO = 1_000_000_000


def test_an_engine_removes_what_a_killed_one_left_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = LocalRanks(1)
    (held,) = tmp_path.iterdir()
    left, young, foreign = (tmp_path / name for name in ("skipjoin-ranks-left", "skipjoin-ranks-young", "foreign"))
    for folder in (left, young, foreign):
        folder.mkdir()
        (folder / "meeting").write_bytes(b"")
    for folder in (held, left, foreign):
        os.utime(folder, (LONG_AGO, LONG_AGO))
    (tmp_path / "skipjoin-ranks-link").symlink_to(foreign)
    LocalRanks(1).close()
    assert not left.exists()
    assert held.exists() and young.exists() and (foreign / "meeting").exists()
    living.close()
    living.close()
    assert not held.exists()
