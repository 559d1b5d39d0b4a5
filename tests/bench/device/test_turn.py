"""The engine's own work beside a forward pass: laps that add up, iterations that are what they are
said to be, bars that can fail.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from skipjoin.bench.device.turn.engine import DOOR, FORWARD, PARTS, SAMPLINGS, WHOLE, YARDSTICK, Stopwatch, decoded
from skipjoin.bench.device.turn.run import HELP_TARGET, RUNS, TARGETS, measure_pace, ratio_line
from skipjoin.bench.device.turn.turns import Timing, all_hold, queue_ratio, timing_of
from skipjoin.bench.yardstick import Yardstick
from skipjoin.cli import main
from skipjoin.core.clock import thread_cpu_ns
from skipjoin.model.presets import init_model
from skipjoin.model.weights.loading import load_model

BURNT_NS = 2_000_000


def burn(answer: str) -> str:
    end_ns = thread_cpu_ns() + BURNT_NS
    while thread_cpu_ns() < end_ns:
        pass
    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    init_model(folder, "tiny")
    return folder


def test_laps_add_up_and_only_iterations_that_count_are_kept() -> None:
    watch = Stopwatch()
    burn("before the first")
    watch.begin(counts=False)
    assert watch.lap("a", burn, "done") == "done"
    watch.lap("a", burn, "again")
    watch.lap("b", burn, "other")
    watch.begin(counts=True)
    watch.lap("a", burn, "not kept")
    watch.begin(counts=False)
    (kept,) = watch.iterations
    assert 2 * BURNT_NS <= kept["a"] < 3 * BURNT_NS
    assert BURNT_NS <= kept["b"] < 2 * BURNT_NS
    assert kept["a"] + kept["b"] <= kept[WHOLE] < 4 * BURNT_NS
    assert kept["never"] == 0


def test_an_iteration_is_a_forward_pass_and_its_parts(folder: Path) -> None:
    model = load_model(folder)
    yardstick = Yardstick()
    greedy, drawn = (decoded(model, 4, 20, sampling, yardstick) for sampling, _ in SAMPLINGS.values())
    assert yardstick.unit_ms > 0
    for iterations in (greedy, drawn):
        assert len(iterations) == 20
        for laps in iterations:
            assert set(laps) - {YARDSTICK} == {WHOLE, FORWARD, DOOR, *PARTS}
            assert all(spent > 0 for spent in laps.values())
            assert sum(spent for part, spent in laps.items() if part != WHOLE) < laps[WHOLE]


def test_the_command_says_every_part_and_ends_by_its_bars(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "work.json"
    words = ["--only", "engine", "--model", str(folder), "--decode-batch", "3", "--decodes", "20", "--json", str(out)]
    code = main(["bench", "turn", *words])
    (told,) = json.loads(out.read_text()).values()
    assert (told["model"], told["batch"], told["prompt_tokens"]) == ("tiny", 3, 64)
    heads = [one for one in told["timings"] if not one["name"].startswith(" ")]
    assert [one["name"] for one in heads] == ["decode, greedy", "decode, temperature, top-p"]
    assert [one["target"] for one in heads] == [1.0, None]
    assert code == (0 if heads[0]["median_ms"] <= heads[0]["unit_ms"] else 1)
    assert len(told["timings"]) == 2 * (1 + len(PARTS) + 1)
    for one in told["timings"]:
        assert 0 < one["median_ms"] <= one["p95_ms"] and one["turns"] == 20
    printed = capsys.readouterr().out
    assert "batch 3, prompts of about 64" in printed
    assert all(one["name"] in printed for one in told["timings"])


def test_virtual_time_and_the_command_have_a_line_each() -> None:
    lines = list(measure_pace(requests=20))
    assert [one.name for one in lines] == [*(f"simulated second, {name}" for name in TARGETS), "skipjoin --help"]
    assert [one.target for one in lines] == [*TARGETS.values(), HELP_TARGET]
    assert all(0 < one.median_ms <= one.p95_ms and one.unit_ms > 0 and one.turns == RUNS for one in lines)


def test_a_slow_machine_is_no_regression_and_a_quick_one_hides_none() -> None:
    """The same work in twice the time where fixed work takes twice the time; half as much more work
    on a machine twice as quick.
    """
    slow, quick = timing_of("a", [4_000_000], 2.0, 2.0), timing_of("a", [1_500_000], 0.5, 2.0)
    assert (slow.units, slow.holds) == (2.0, True)
    assert (quick.units, quick.holds) == (3.0, False)


def test_a_bar_that_does_not_hold_is_told() -> None:
    good, bad = timing_of("a", [1_000_000, 3_000_000, 2_000_000], 0.5, 4.0), timing_of("b", [2_000_001] * 2, 0.5, 4.0)
    assert good == Timing("a", 2.0, 3.0, 3, 0.5, 4.0) and good.holds is True
    assert bad.holds is False and replace(bad, target=None).holds is None
    assert all_hold([good, replace(bad, target=None)]) and not all_hold([good, bad])


def test_timings_and_their_verdicts() -> None:
    good, bad = Timing("a", 0.2, 0.3, 20, 2.0, 0.1), Timing("b", 0.21, 0.3, 20, 2.0, 0.1)
    assert str(good).endswith("<= 0.1 ok") and str(bad).endswith("<= 0.1 ABOVE")
    assert str(Timing("c", 9.0, 9.0, 20, 2.0)).endswith(" -")
    for ratio, word in ((1.2, "ok"), (1.21, "ABOVE")):
        assert (
            ratio_line(ratio, (1000, 3000)) == f"3,000 / 1,000 queued, equal change: {ratio:.3f} (target <= 1.2) {word}"
        )
    short, long = Timing("short", 1.0, 1.0, 20, 2.0), Timing("long", 1.2, 1.2, 20, 2.0)
    assert queue_ratio([good, short, long]) == pytest.approx(1.2)
