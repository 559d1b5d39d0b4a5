"""Where a result may be written: told before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skipjoin.console.output_file import place, write
from skipjoin.core.errors import InvalidInput


def test_files_that_are_there_and_files_to_be(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("1")
    for name in ("old.json", "new.json"):
        assert place(str(tmp_path / name), "json") == tmp_path / name
    assert (tmp_path / "old.json").read_text() == "1"
    assert not (tmp_path / "new.json").exists()
    assert place(os.devnull, "json") == Path(os.devnull)


@pytest.mark.parametrize("name", ["", ".", "none/out.json", "file/out.json"])
def test_no_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"--plot .*no place to write") as caught:
        place(name, "plot")
    assert caught.value.field == "plot"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_rights_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    (tmp_path / "old").chmod(0o400)
    tmp_path.chmod(0o500)
    for name in ("old", "new"):
        with pytest.raises(InvalidInput):
            place(str(tmp_path / name), "out")


def test_a_text_is_written_or_it_is_told_why_not(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    for text in ("a longer text\n", "ä\n"):
        write(str(file), text, "json")
        assert file.read_bytes() == text.encode()
    for name, says in ((str(tmp_path), "Is a directory"), (str(tmp_path / "none" / "out.json"), "No such file")):
        with pytest.raises(InvalidInput, match=says) as caught:
            write(name, "text", "plot")
        assert caught.value.field == "plot"
        assert caught.value.message.startswith(f"{Path(name).name} cannot be written: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_told() -> None:
    with pytest.raises(InvalidInput, match="full cannot be written: No space left"):
        write("/dev/full", "text", "json")
