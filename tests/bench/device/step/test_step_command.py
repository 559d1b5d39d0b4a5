"""`skipjoin bench step` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from skipjoin.bench.device.command import SHIPPED
from skipjoin.bench.device.step.cases import samples, study
from skipjoin.bench.device.step.run import row_line
from skipjoin.bench.device.step.scenario import FOLDER, load_steps
from skipjoin.bench.device.step.stage import check_model
from skipjoin.cli import main
from skipjoin.model.presets import preset_named

QUICK = Path(__file__).with_name("quick.toml")
WORDS = ("bench", "step", "--device", "cpu", "--repeats", "3")
FIELDS = {
    "kind", "measured", "case", "what", "unit", "value", "of", "share", "bound",
    "tokens_per_s", "target", "note", "holds",
}  # fmt: skip


@pytest.fixture(autouse=True)
def threads():
    """The command chooses threads for its process, which here is ours."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_table_lines_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "step.jsonl", tmp_path / "step.svg"
    assert main([*WORDS, "--scenario", str(QUICK), "--json", str(out), "--plot", str(picture)]) == 0
    heard = capsys.readouterr()
    assert f"torch {torch.__version__}" in heard.out and "none is applied" in heard.out
    machine, *lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert (machine["kind"], machine["rounds"], machine["dtype"]) == ("machine", 3, "float32")
    assert machine["scenario"]["title"] == "a test" and machine["code"] in heard.out
    rows = [line for line in lines if line["kind"] == "step"]
    assert all(row.keys() == FIELDS for row in rows)
    assert {row["measured"] for row in rows} == {"decode", "prefill", "moves", "idle"}
    assert [line["name"] for line in lines if line["kind"] == "speed"] == ["copy", "gemm"]
    for row in rows:
        assert row["case"] in heard.out and row["what"] in heard.out and row["holds"] is None
        assert row["value"]["low"] <= row["value"]["median"] <= row["value"]["high"]
    drawn = picture.read_text()
    ElementTree.fromstring(drawn)
    assert all(row["what"] in drawn for row in rows if row["share"] is not None)


def judged(tmp_path: Path, least: float, bars_for: str) -> list[str]:
    """The decode alone, with a target on devices of that type."""
    text = QUICK.read_text().replace("steps = 20", f"steps = 20\nleast = {least}")
    file = tmp_path / "judged.toml"
    file.write_text(text.replace('title = "a test"', f'title = "a test"\nbars_for = ["{bars_for}"]'))
    return [*WORDS, "--scenario", str(file), "--only", "decode"]


def test_a_target_is_held_or_missed_where_it_applies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(judged(tmp_path, 1e-9, "cpu")) == 0
    assert "1 of 1 targets held" in capsys.readouterr().out
    assert main(judged(tmp_path, 1e9, "cpu")) == 1
    heard = capsys.readouterr().out
    assert "0 of 1 targets held" in heard and "MISSED" in heard and "missed: decode 3 x 40, whole step" in heard
    assert main(judged(tmp_path, 1e9, "cuda")) == 0
    assert "MISSED" not in capsys.readouterr().out


def test_lines_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--scenario", str(QUICK), "--only", "prefill", "--dtype", "bfloat16", "--json", "-"]) == 0
    machine, row, *speeds = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (machine["dtype"], row["case"], len(speeds)) == ("bfloat16", "prefill 90", 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repeats", "2"), "3..1000"),
        (("--threads", "0"), "1..1024"),
        (("--dtype", "float64"), "float32, float16, bfloat16"),
        (("--dtype", "half"), "precision"),
        (("--only", "nothing"), "decode 3 x 40, prefill 90"),
        (("--device", "tpu"), "device"),
        (("--scenario", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_bad_input(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--scenario", str(QUICK), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model = "tiny"', 'model = "huge"', "no preset"),
        ("context = 40", "context = 1020", "the 1,024 of tiny"),
        ("iterations = 12", "iterations = 4", "at least two more"),
        ("prefill 90", "decode 3 x 40", "every name once"),
        ('kind = "prefill"', 'kind = "train"', "cases.1"),
        ("chunk = 40", "chunk = 0", "chunk"),
    ],
)
def test_a_bad_scenario(old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.toml"
    text = QUICK.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    assert main([*WORDS, "--scenario", str(file)]) == 2
    assert said in capsys.readouterr().err


def test_the_bar_hears_of_every_sample(stage, quick) -> None:
    told: list[None] = []
    lines = list(study(quick, stage, 3, lambda: told.append(None)))
    assert len(told) == samples(quick, 3, ahead=False)
    assert [line.name for line in lines[-2:]] == ["copy", "gemm"]


def test_a_case_without_room_is_told_and_the_others_run(stage, quick, decode, monkeypatch) -> None:
    """As the executor says it of a full device, with a plan still in flight."""
    submit, left = stage.executor.submit, [3]

    def full(plan):
        if left[0] == 0 and len(plan.decode) == decode.batch:
            raise MemoryError("The device has no memory left for an iteration.")
        left[0] -= 1
        submit(plan)

    monkeypatch.setattr(stage.executor, "submit", full)
    lines = list(study(quick, stage, 3, lambda: None))
    assert "did not run: The device has no memory left" in row_line(lines[0], lines[0].case)
    assert {getattr(line, "kind", None) for line in lines[1:]} >= {"prefill", "moves", "idle"}


@pytest.mark.parametrize("name", sorted(SHIPPED.values()))
def test_what_ships_can_be_read_and_fits_its_model(name: str) -> None:
    scenario = load_steps(FOLDER / name)
    check_model(scenario)
    assert {case.kind for case in scenario.cases} == {"decode", "prefill", "moves", "idle"}
    assert all(case.most_tokens <= preset_named(scenario.model).max_context_tokens for case in scenario.cases)
    targets = [
        getattr(case, field)
        for case in scenario.cases
        for field in ("least", "most_slower", "least_rate", "most")
        if getattr(case, field, None) is not None
    ]
    assert targets == ([0.8, 0.8, 0.6, 0.03, 0.85, 0.05] if name == SHIPPED["cuda"] else [])
    assert scenario.bars_for == ("cuda",)
