"""`skipjoin bench kernels` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from skipjoin.bench.device.command import SHIPPED
from skipjoin.bench.device.kernels.scenario import FOLDER, KERNELS, load_shapes
from skipjoin.cli import main
from skipjoin.core.errors import InvalidSettings

FIELDS = {
    "kind", "case", "kernel", "contestant", "right", "error", "bound", "absent", "us", "us_min", "us_max",
    "gb_s", "gflop_s", "roofline", "ours_over_it", "unrecorded",
}  # fmt: skip
QUICK = Path(__file__).with_name("quick.toml")
WORDS = ("bench", "kernels", "--device", "cpu", "--no-flex", "--repeats", "3", "--scenario", str(QUICK))


@pytest.fixture(autouse=True)
def threads():
    """The command chooses threads for its process, which here is ours."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_table_lines_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "kernels.jsonl", tmp_path / "kernels.svg"
    assert main([*WORDS, "--json", str(out), "--plot", str(picture)]) == 0
    heard = capsys.readouterr()
    assert f"torch {torch.__version__}" in heard.out and "Rooflines" in heard.out
    assert torch.cuda.is_available() or "interpreter is a check" in heard.out
    machine, *lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert (machine["kind"], machine["title"], machine["rounds"]) == ("machine", "a test", 3)
    assert machine["code"] and f"skipjoin {machine['code']}" in heard.out
    assert machine["torch"] == torch.__version__ and machine["threads"] >= 1 and machine["dtype"] == "float32"
    rows = [line for line in lines if line["kind"] == "kernel"]
    assert all(row.keys() == FIELDS for row in rows)
    assert {row["kernel"] for row in rows} == set(KERNELS)
    names = {(row["case"], row["contestant"]) for row in rows}
    assert {("decode", "sdpa"), ("mixed", "reference"), ("move in", "skipjoin"), ("move out", "skipjoin")} <= names
    assert [line["name"] for line in lines if line["kind"] == "speed"] == ["copy", "gemm"]
    for row in rows:
        assert row["case"] in heard.out and row["us_min"] <= row["us"] <= row["us_max"]
    drawn = picture.read_text()
    ElementTree.fromstring(drawn)
    assert all(row["case"] in drawn for row in rows)


def test_lines_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--only", "gelu", "--dtype", "bfloat16", "--json", "-"]) == 0
    machine, *lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert machine["dtype"] == "bfloat16"
    assert [line.get("contestant") for line in lines] == ["skipjoin", "reference", None, None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repeats", "2"), "--repeats is 2. (limit: 3..1000)"),
        (("--dtype", "float64"), "--dtype is float64"),
        (("--threads", "0"), "--threads is 0"),
        (("--only", "nothing"), "--only nothing is none of the cases"),
        (("--scenario", "none.toml"), "none.toml cannot be read"),
        (("--json", "/none/out"), "no place to write a file"),
        (("--device", "tpu"), "'tpu'"),
        (("--tune", "--plot", "tuned.svg"), "--tune writes sizes to --out and no figures; leave --plot out"),
    ],
)
def test_bad_input_is_told_in_a_sentence(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, *words]) == 2
    heard = capsys.readouterr()
    assert said in heard.err and len(heard.err.splitlines()) == 1 and heard.out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA says")
def test_without_cuda_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels", "--device", "cuda"]) == 2
    assert "no usable CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("name", SHIPPED.values())
def test_shipped_shapes_have_every_kernel(name: str) -> None:
    kernels = {case.kernel for case in load_shapes(FOLDER / name).cases}
    assert kernels >= set(KERNELS) - {"linear"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("heads = 4", "heads = 3", "heads: a multiple of kv_heads"),
        ("rows = 5", "pages = 5", "rows: write needs that"),
        ('form = "gelu"', 'form = "rms"', "form: of a gate silu or gelu"),
        ("context = 20", "context = 19", "queries: at most context"),
        ('"decode"', '"mixed"', "every name once"),
        ('title = "a test"', "", "title"),
        ("hidden = 64", "hidden = 64\nextra = 1", "model.extra"),
        ("[model]", "[model", "no TOML"),
    ],
)
def test_a_file_of_shapes_that_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = QUICK.read_text()
    assert old in text
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidSettings, match=r"bad\.toml") as caught:
        load_shapes(bad)
    assert said in str(caught.value)
