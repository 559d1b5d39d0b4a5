"""The sizes that a user measured: found where they lie, used, and refused by file and key when they
are wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from skipjoin.core.errors import InvalidSettings
from skipjoin.executor.kernel_sizes import sizes_folder, use_own_sizes
from skipjoin.kernels.compiled import tuning
from skipjoin.kernels.compiled.size_file import AttentionSizes, SizeFile, SizeKey, render_sizes

KEY, SIZES = SizeKey("half", True, 64), AttentionSizes(128, 32, 256, 2048, 8, 3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of sizes of a user who has none yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "_own", {})
    return sizes_folder()


def test_without_a_folder_there_is_nothing_to_use(home: Path) -> None:
    assert not home.exists() and use_own_sizes() == []


def test_files_are_used_and_others_left_alone(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "here.toml").write_text(render_sizes(SizeFile("cpu", "a test", {KEY: SIZES}, {KEY: 1.0})))
    (home / "notes.txt").write_text("not for us")
    assert use_own_sizes() == ["cpu"]
    assert tuning.attention_sizes(torch.device("cpu"), torch.bfloat16, 4, 64, True) == SIZES


def test_a_bad_file_is_told_by_name_and_key(home: Path) -> None:
    home.mkdir(parents=True)
    text = render_sizes(SizeFile("cpu", "a test", {KEY: SIZES}, {KEY: 1.0}))
    (home / "here.toml").write_text(text.replace("rows = 128", "rows = 100"))
    with pytest.raises(InvalidSettings, match=r"here.toml: attention 1, rows: a power of two in 16..256") as caught:
        use_own_sizes()
    assert str(home) not in str(caught.value), "a path of ours"


def test_a_file_that_cannot_be_read(home: Path) -> None:
    (home / "folder.toml").mkdir(parents=True)
    with pytest.raises(InvalidSettings, match=r"folder.toml cannot be read"):
        use_own_sizes()
