"""The same benchmark of two checkouts by turns: which figures are one, what is slower, and a run of
this code against itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skipjoin.bench.device.against import Against, against_table, as_quick, compared, figures_of
from skipjoin.cli import main

ROOT = Path(__file__).parents[3]


def test_figures_are_seconds_by_name() -> None:
    turn = {
        "batch": 8,
        "timings": [{"name": "quarter", "median_ms": 2.0, "p95_ms": 9.0}, {"name": "  part", "median_ms": 1.0}],
    }
    assert figures_of(json.dumps(turn)) == {"quarter": 0.002}
    pool = {
        "pools": [
            {"pool": "sqlite", "batch": 64, "commits_per_s": 50.0},
            {"pool": "memory", "batch": 64, "commits_per_s": 0},
        ]
    }
    assert figures_of(json.dumps(pool)) == {"sqlite, 64, commits": 0.02}
    runs = [{"kind": "run", "system": "ours", "batch": 1, "tokens_per_s": rate} for rate in (10.0, 4.0, 5.0)]
    lines = [{"kind": "head"}, *runs, {"kind": "roof", "batch": 1, "tokens_per_s": 3.0}]
    assert figures_of("\n".join(json.dumps(line) for line in lines)) == {"ours, 1, tokens": 0.2}


def test_what_both_tell_in_units_is_compared_in_units() -> None:
    def told(median_ms: float, unit_ms: float) -> dict[str, float]:
        timing = {"name": "quarter", "median_ms": median_ms, "unit_ms": unit_ms}
        return dict(figures_of(json.dumps({"timings": [timing]})))

    slow, quick = told(4.0, 2.0), told(3.0, 1.0)
    assert compared([(slow, quick)]) == [Against("quarter, in units", (1.5,))]
    before = {"quarter": 0.002}  # by a version that had no yardstick
    assert compared([(slow, before)]) == [Against("quarter", (0.5,))]


def test_quicker_is_more_and_what_only_one_has_is_left_out() -> None:
    rounds = [
        ({"a": 1.0, "b": 2.0, "new": 1.0}, {"a": 1.5, "b": 1.0, "old": 1.0}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.2, "b": 3.0}),
    ]
    assert compared([rounds[0], rounds[0]])[0] == Against("a", (1.5, 1.5))
    first, second = compared([({name: one[name] for name in ("a", "b")}, theirs) for one, theirs in rounds])
    assert (first, second) == (Against("a", (1.5, 1.2)), Against("b", (0.5, 1.5)))
    said = against_table([first, Against("b", (0.5, 0.9))]).splitlines()
    assert said[1].split() == ["a", "1.350", "1.200", "1.500", "ok"]
    assert said[2].endswith("SLOWER") and said[3].split() == ["all", "together", "0.972", "SLOWER"]
    assert as_quick([first]) and not as_quick([first, Against("b", (0.97,))])


@pytest.mark.parametrize(
    ("ratios", "slower"),
    [
        ((0.97, 0.96, 0.97), True),
        ((0.99, 0.985, 0.99), False),
        ((0.97, 1.1, 0.9, 1.02), False),
        ((0.9, 0.97, 1.1, 0.9), True),
    ],
)
def test_slower_is_most_rounds_and_the_median(ratios: tuple[float, ...], slower: bool) -> None:
    assert Against("a", ratios).slower is slower


def test_a_checkout_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, out = tmp_path / "before", tmp_path / "against.json"
    other.symlink_to(ROOT, target_is_directory=True)
    words = ["--rounds", "1", "--json", str(out), "pool", "--", "--seconds", "0.1"]
    assert main(["bench", "against", str(other), *words]) in (0, 1)
    told = json.loads(out.read_text())
    assert set(told["against"]) == {
        f"{pool}, 64, {what}"
        for pool in ("sqlite", "memory")
        for what in ("submits alone", "submits", "commits", "tokens")
    }
    assert "all together" in capsys.readouterr().out
