"""`skipjoin profile` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skipjoin.cli import main
from skipjoin.cost.profiles import load_profile


def test_show_lists_names_and_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show"]) == 0
    assert "opt-13b-a100" in capsys.readouterr().out.split()
    assert main(["profile", "show", "opt-13b-a100"]) == 0
    text = capsys.readouterr().out
    assert "66,144 tokens" in text
    assert "DistServe" in text
    assert main(["profile", "show", "opt-13b-a100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kv"]["device_tokens"] == 66_144


def test_show_of_an_unknown_name_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err


def test_measure_writes_a_profile_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = tmp_path / "model", tmp_path / "profile.json"
    assert main(["model", "init", str(model), "--preset", "tiny"]) == 0
    flags = [
        "--max-batch",
        "4",
        "--kv-tokens",
        "2048",
        "--host-kv-tokens",
        "1024",
        "--budget-s",
        "1",
        "--device",
        "cpu",
    ]
    assert main(["profile", "measure", "--model", str(model), "--out", str(out), "--threads", "1", *flags]) == 0
    assert "fit error" in capsys.readouterr().out
    profile = load_profile(str(out))
    assert (profile.model_name, profile.device, profile.dtype) == ("model", "cpu", "float32")
    assert (profile.kv_tokens, profile.host_kv_tokens) == (2_048, 1_024)
    assert profile.model.decode_ns(1, 0) > 1_000
    assert profile.link_out_gbps is not None
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--max-batch", "0"], "max-batch"),
        (["--budget-s", "nan"], "budget-s"),
        (["--out", "/nowhere/at/all.json"], "--out"),
        (["--model", "./nowhere"], "no folder ./nowhere"),
    ],
)
def test_bad_flags_are_named(flags: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["profile", "measure", "--model", str(tmp_path), "--out", str(tmp_path / "p.json")]
    assert main([*base, *flags]) == 2
    assert word in capsys.readouterr().err
