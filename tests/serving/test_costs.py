"""Where a server's cost profile comes from: a file of this model, the speeds of the device, or a
sweep that is cached.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvalidProfile
from skipjoin.core.executor import ExecutorFacts
from skipjoin.cost.exact import BaseCost, cost_values
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import Profile, render_profile
from skipjoin.cost.table import Curve, Grid, TableCostModel
from skipjoin.model.config import load_config
from skipjoin.model.presets import init_model
from skipjoin.serving.facts import EngineFacts, EngineWords
from skipjoin.serving.settings import ServeSettings
from skipjoin.serving.worker.costs import cost_profile
from skipjoin.sim.executor import SimExecutor

COST = load_profile("opt-13b-a100").model
_ATTENTION = Grid((1.0, 64.0), (0.0, 4096.0), ((1e4, 1e5), (2e5, 4e6 / 3)))
TABLES = TableCostModel(Curve((1.0, 2048.0), (1e6 / 3, 2e7)), Curve((1.0,), (1e5,)), _ATTENTION, _ATTENTION, _ATTENTION)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    init_model(folder, "tiny", seed=7)
    return folder


def facts_of(model: Path) -> ExecutorFacts:
    config = load_config(model)
    token_bytes = 2 * config.layers * config.kv_heads * config.head_dim * 4
    return ExecutorFacts(1, 256, 512, 16, 16 * token_bytes, config.max_context_tokens, config.vocab_size)


def asked(
    model: Path, profile: str | None, device: str = "cpu", cuda_graphs: bool = True, code: str = "this"
) -> tuple[Profile, str, int]:
    """The profile, the words about it, and how much of the executor's time it took."""
    facts, clock = facts_of(model), ManualClock(0)
    executor = SimExecutor(COST, facts, clock)
    executor.start()
    settings = ServeSettings(model=model, profile=profile, max_batch=4, threads=1, cuda_graphs=cuda_graphs)
    found, words = cost_profile(settings, executor, facts, clock, device=device, dtype="float32", code=code)
    return found, words, clock.now_ns()


def test_a_roofline_is_of_this_model_and_measures_no_iteration(model: Path) -> None:
    profile, words, spent_ns = asked(model, "roofline")
    assert spent_ns == 0
    assert "estimated" in words
    assert "measured here" in profile.source
    assert (profile.model_name, profile.device, profile.dtype) == ("tiny", "cpu", "float32")
    assert profile.kv_tokens == 256 * 16
    assert profile.cost.decode_ns(1, 100) > 0


def test_without_a_profile_iterations_are_measured_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, words, spent_ns = asked(model, None)
    assert (words, spent_ns > 10**9) == ("measured at start", True)
    again, words, spent_ns = asked(model, None)
    assert (words, spent_ns) == ("measured before", 0)
    assert again.cost.decode_ns(4, 400) == pytest.approx(first.cost.decode_ns(4, 400), rel=1e-6)


def test_launched_decodes_are_not_taken_for_replayed_ones(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked_for = [("cuda", True), ("cuda", False), ("cuda", True), ("cpu", True), ("cpu", False)]
    told = [asked(model, None, *options)[1] for options in asked_for]
    assert told == ["measured at start", "measured at start", "measured before", "measured at start", "measured before"]


def test_times_of_other_code_are_not_taken_for_those_of_this(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = [asked(model, None, code=code)[1] for code in ("this", "other", "this")]
    assert told == ["measured at start", "measured at start", "measured before"]


def test_old_profiles_leave_the_cache(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "skipjoin" / "profiles"
    folder.mkdir(parents=True)
    for age in range(100):
        old = folder / f"{age}.json"
        old.write_text("{}")
        os.utime(old, (1000 - age, 1000 - age))
    asked(model, None)
    left = {path.stem for path in folder.iterdir()}
    assert len(left) == 64
    assert "0" in left and "99" not in left


def test_a_profile_of_another_model_is_refused_by_file_and_field(model: Path, tmp_path: Path) -> None:
    fits = json.loads(render_profile(asked(model, "roofline")[0]))
    file = tmp_path / "other.json"
    file.write_text(json.dumps(fits))
    assert asked(model, str(file))[0].token_bytes == fits["kv"]["bytes_per_token"]
    fits["kv"]["bytes_per_token"] += 1
    file.write_text(json.dumps(fits))
    with pytest.raises(InvalidProfile, match=r"other\.json is of another model") as caught:
        asked(model, str(file))
    assert caught.value.field == "kv.bytes_per_token"
    assert caught.value.limit == str(fits["kv"]["bytes_per_token"] - 1)


@pytest.mark.parametrize("cost", [COST, TABLES, None], ids=["coefficients", "tables", "none"])
def test_the_door_hears_the_cost_model_that_the_engine_began_with(cost: BaseCost | None, model: Path) -> None:
    words = EngineWords(4, "cpu", "float32", "tiny", "a file", None if cost is None else cost_values(cost))
    heard = EngineFacts.from_frame(EngineFacts(facts_of(model), "fcfs", words).to_frame(1, 2))
    assert heard.cost() == cost
