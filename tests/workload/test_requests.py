"""The requests of a run: cut, repeated, refused, stretched."""

from __future__ import annotations

import numpy as np
import pytest

from skipjoin.core.errors import InvalidSettings
from skipjoin.workload import arrivals
from skipjoin.workload.requests import Workload, make_workload
from skipjoin.workload.shape import load_shape
from skipjoin.workload.source import Source
from skipjoin.workload.trace import Trace

TRACE = Trace(
    "five",
    np.asarray([0, 1, 1, 3, 8], dtype=np.int64) * 1_000_000_000,
    np.asarray([10, 20, 30, 40, 50], dtype=np.int32),
    np.asarray([1, 2, 3, 4, 5], dtype=np.int32),
)


def _make(
    source: Source = TRACE,
    requests: int | None = None,
    warmup: int = 0,
    poisson: bool = False,
    room: int | None = None,
    seed: int = 1,
    scale: float = 1.0,
) -> Workload:
    return make_workload(
        source, requests=requests, warmup=warmup, seed=seed, poisson=poisson, room_tokens=room, scale_lengths=scale
    )


def test_a_whole_trace_as_recorded() -> None:
    made = _make(warmup=2)
    assert made.arrival_ns.tolist() == TRACE.arrival_ns.tolist()
    assert (len(made), made.counted, made.refused, made.recorded, made.notes) == (5, 3, 0, True, ())
    assert made.rate_per_s == pytest.approx(5 / 8)


def test_cut_behind_warmup_and_requests() -> None:
    assert _make(requests=2, warmup=1).prompt_tokens.tolist() == [10, 20, 30]


def test_stretching_keeps_the_pattern() -> None:
    made = _make().at_rate(5 / 4)
    assert made.arrival_ns.tolist() == [0, 500_000_000, 500_000_000, 1_500_000_000, 4_000_000_000]
    assert made.rate_per_s == pytest.approx(5 / 4)


def test_a_short_trace_is_repeated_with_fresh_arrivals_and_says_so() -> None:
    made = _make(requests=9, warmup=2)
    assert made.prompt_tokens.tolist() == [10, 20, 30, 40, 50, 10, 20, 30, 40, 50, 10]
    assert not made.recorded
    assert made.rate_per_s == pytest.approx(5 / 8)
    assert len(made.notes) == 1
    assert "repeated" in made.notes[0]
    gaps = np.diff(made.arrival_ns)
    assert len(set(gaps.tolist())) == 10


def test_poisson_redraws_by_seed() -> None:
    one, same, other = _make(poisson=True), _make(poisson=True), _make(poisson=True, seed=2)
    assert one.arrival_ns.tolist() == same.arrival_ns.tolist()
    assert one.arrival_ns.tolist() != other.arrival_ns.tolist()
    assert one.notes == ()
    assert one.rate_per_s == pytest.approx(other.rate_per_s)


def test_too_large_requests_are_refused_and_left_out() -> None:
    made = _make(room=44)
    assert made.prompt_tokens.tolist() == [10, 20, 30, 40]  # 40 + 4 fits exactly, 50 + 5 does not
    assert made.refused == 1
    assert _make(room=43).refused == 2
    with pytest.raises(InvalidSettings, match="none is left"):
        _make(room=10)


def test_a_shape_waits_for_its_rate() -> None:
    made = _make(load_shape("azure-conv"), requests=300, warmup=100)
    assert made.rate_per_s is None
    timed = made.at_rate(2.0)
    assert len(timed) == 400
    assert timed.rate_per_s == pytest.approx(2.0)
    assert timed.prompt_tokens.tolist() == made.prompt_tokens.tolist()
    twice = made.at_rate(4.0)
    assert np.allclose(twice.arrival_ns * 2, timed.arrival_ns, atol=2)
    assert made.at_once().arrival_ns.max() == 0


def test_scaled_lengths_keep_a_token() -> None:
    made = _make(scale=0.3)
    assert made.prompt_tokens.tolist() == [3, 6, 9, 12, 15]
    assert made.output_tokens.tolist() == [1, 1, 1, 1, 2]


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(arrivals.poisson(50_000, 10.0, 5)) / 1e9
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(0.1, rel=0.001)
    assert gaps.std() == pytest.approx(0.1, rel=0.02)
    assert (gaps > 0.3).mean() == pytest.approx(np.exp(-3), rel=0.1)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"requests": 0}, "requests"),
        ({"warmup": -1}, "warmup"),
        ({"seed": -1}, "seed"),
        ({"scale": 0.0}, "scale"),
        ({"warmup": 5}, "warmup"),
    ],
)
def test_out_of_bounds(bad: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidSettings, match=field):
        _make(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_rate_out_of_bounds(rate: float) -> None:
    with pytest.raises(InvalidSettings, match="rate"):
        _make().at_rate(rate)


def test_arrivals_at_one_instant_cannot_be_stretched() -> None:
    burst = Trace("burst", np.zeros(3, dtype=np.int64), TRACE.prompt_tokens[:3], TRACE.output_tokens[:3])
    with pytest.raises(InvalidSettings, match="poisson"):
        _make(burst).at_rate(1.0)
    assert _make(burst, poisson=True).at_rate(1.0).rate_per_s == pytest.approx(1.0)
