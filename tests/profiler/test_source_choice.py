"""What `profile import` says where it is not clear which files are meant: several sets, several
formats, a part of a set, nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from published import STEM, write_coefficients, write_layers, write_sweeps, write_tables

from skipjoin.cli import main
from skipjoin.core.errors import InvalidProfile
from skipjoin.profiler.sources.detect import read_source
from skipjoin.profiler.sources.reading import Wish

ROOM, OPT = Wish(kv_tokens=60_000), Wish(model="opt-13b")


def test_a_folder_of_several_sets_says_which_and_how_to_choose(tmp_path: Path) -> None:
    write_tables(tmp_path)
    write_tables(tmp_path, "h100_llama31-8b_tp1")
    with pytest.raises(InvalidProfile) as caught:
        read_source(str(tmp_path), ROOM)
    said = caught.value.message
    assert f"{STEM}_tp1_dense.csv (NVIDIA GeForce RTX 4090, llama-3.1-8b)" in said
    assert "h100_llama31-8b_tp1_dense.csv (NVIDIA H100 80GB, llama-3.1-8b)" in said
    assert f"as FOLDER/{STEM}_tp1." in said and str(tmp_path) not in said
    assert read_source(str(tmp_path / f"{STEM}_tp1"), ROOM).device == "NVIDIA GeForce RTX 4090"


def test_a_folder_of_several_formats_says_which_and_how_to_choose(tmp_path: Path) -> None:
    write_tables(tmp_path)
    write_layers(tmp_path)
    write_coefficients(tmp_path)
    (tmp_path / f"{STEM}_measured_meta.json").write_text("{}")
    with pytest.raises(InvalidProfile) as caught:
        read_source(str(tmp_path), ROOM)
    said = caught.value.message
    assert "3 formats (distserve, llmservingsim, llmservingsim-layers)" in said
    for told in (
        f"{STEM}_tp1 (NVIDIA GeForce RTX 4090, llama-3.1-8b)",
        "h100_llama31-8b_tp1 (NVIDIA H100 80GB, llama-3.1-8b)",
        "profiler-a100-80g.json (NVIDIA A100 80GB)",
    ):
        assert told in said
    assert "meta" not in said
    assert "--format" in said and caught.value.field == "format"
    assert read_source(str(tmp_path), ROOM, "llmservingsim-layers").device == "NVIDIA H100 80GB"
    assert read_source(str(tmp_path), OPT, "distserve").model_name == "facebook/opt-13b"
    assert read_source(str(tmp_path / "h100_llama31-8b_tp1"), ROOM).device == "NVIDIA H100 80GB"


def test_models_of_one_sweep_are_chosen_by_flag(tmp_path: Path) -> None:
    write_sweeps(tmp_path)
    (tmp_path / "a100_mlp_phi-2.csv").write_bytes((tmp_path / "a100_mlp_Meta-Llama-3-8B.csv").read_bytes())
    with pytest.raises(InvalidProfile, match="2 of table of operators") as caught:
        read_source(str(tmp_path), ROOM)
    assert "(NVIDIA A100 80GB, phi-2)" in caught.value.message and "--model" in caught.value.message
    chosen = Wish(model="llama-3-8b", kv_tokens=60_000)
    assert read_source(str(tmp_path), chosen).model_name == "Meta-Llama-3-8B"


@pytest.mark.parametrize(
    ("write", "file", "gone", "beginning"),
    [
        (write_tables, "dense", "no per_sequence table and no attention table", f"{STEM}_tp1"),
        (write_tables, "per_sequence", "no dense table and no attention table", f"{STEM}_tp1"),
        (write_tables, "attention", "no dense table and no per_sequence table", f"{STEM}_tp1"),
        (write_sweeps, "a100_attention", "no table of operators or of layers", "a100"),
    ],
)
def test_one_file_of_a_set_names_its_sisters(
    write: Callable[[Path], object], file: str, gone: str, beginning: str, tmp_path: Path
) -> None:
    write(tmp_path)
    (path,) = tmp_path.glob(f"*{file}.csv")
    with pytest.raises(InvalidProfile) as caught:
        read_source(str(path), ROOM)
    assert f"{path.name} is one file of a set, and the source has {gone};" in caught.value.message
    assert f"as FOLDER/{beginning}." in caught.value.message
    assert caught.value.field == "source"


def test_an_empty_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coefficients(tmp_path)
    monkeypatch.chdir(tmp_path)
    for source in ("", " "):
        assert main(["profile", "import", source, "--out", "out.json", "--model", "opt-13b"]) == 2
        assert "SOURCE is empty" in capsys.readouterr().err
    assert not Path("out.json").exists()
    assert read_source(".", OPT).model_name == "facebook/opt-13b"
