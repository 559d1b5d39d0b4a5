"""A decode step on one rank and on several, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skipjoin.bench.device.scaling import ScalingRow, measure_delivery
from skipjoin.bench.figures import Spread
from skipjoin.cli import main
from skipjoin.model.presets import init_model

ONE = Spread(2.0, 1.0, 3.0)


@pytest.mark.timeout(120)
def test_two_ranks_beside_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init_model(tmp_path / "model", "tiny", seed=1)
    out, picture = tmp_path / "out.jsonl", tmp_path / "out.svg"
    words = ["bench", "scaling", "--ranks", "1,2", "--model", str(tmp_path / "model"), "--device", "cpu"]
    words += ["--batch", "2", "--context", "9", "--steps", "2", "--repeats", "3"]
    main([*words, "--json", str(out), "--plot", str(picture)])
    one, two, delivery = map(json.loads, out.read_text().splitlines())
    assert (one["ranks"], two["ranks"], delivery["row"]) == (1, 2, "delivery")
    assert one["collectives_ms"] == one["control_ms"] == 0
    assert two["collectives_ms"] > 0 < two["control_ms"]
    assert 0.4 < two["weights"] < 0.75
    assert picture.read_text().startswith("<svg")
    assert "collectives" in capsys.readouterr().out


def test_a_rank_of_two_has_little_more_than_half_of_the_weights() -> None:
    def row(ranks: int, weights: float | None) -> bool | None:
        return ScalingRow(ranks, ONE, 1.0, 1.0, 0.0, 1, weights).weights_hold

    assert [row(1, 1.0), row(2, 0.55), row(2, 0.56), row(2, None), row(4, 0.9)] == [None, True, False, None, None]


def test_delivery_takes_some_time() -> None:
    assert measure_delivery(4, plans=3) > 0


@pytest.mark.parametrize("ranks", ["0", "9", "two", ","])
def test_numbers_of_ranks_that_cannot_be(ranks: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "scaling", "--ranks", ranks]) == 2
    assert "1 to 8" in capsys.readouterr().err
