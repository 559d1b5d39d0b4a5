"""The fit finds coefficients that were planted, and says when it cannot."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidProfile
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.sweep_row import SweepRow
from skipjoin.profiler.fit import fit_cost_model, fit_error

PLANTED = load_profile("opt-13b-a100").model


def sweep(model: LinearCostModel, noise: float = 0.0, seed: int = 0) -> list[SweepRow]:
    draw = random.Random(seed)
    shapes = [(((n, 0),), 0, 0) for n in (32, 128, 512, 1024, 2048)]
    shapes += [(((n, 1024),), 0, 0) for n in (128, 512)]
    shapes += [((), jobs, jobs * ctx) for jobs in (1, 4, 16, 64) for ctx in (64, 512, 2048)]
    shapes += [(((n, 64),), jobs, jobs * 300) for n in (64, 512) for jobs in (4, 32)]
    return [
        SweepRow(chunks, jobs, ctx, round(model.iteration_ns(chunks, jobs, ctx) * draw.uniform(1 - noise, 1 + noise)))
        for chunks, jobs, ctx in shapes
    ]


def coefficients(model: LinearCostModel) -> list[float]:
    names = ("fixed_ns", "prefill_token_ns", "prefill_pair_ns", "decode_context_ns", "decode_job_ns")
    return [getattr(model, name) for name in names]


def test_planted_coefficients_come_back() -> None:
    model, error = fit_cost_model(sweep(PLANTED), move_token_ns=5.0)
    assert coefficients(model) == pytest.approx(coefficients(PLANTED), rel=1e-5)
    assert model.move_token_ns == 5.0
    assert error.worst < 1e-6
    assert error.rows == len(sweep(PLANTED))


def test_noise_is_reported_and_predictions_stay_near() -> None:
    model, error = fit_cost_model(sweep(PLANTED, noise=0.1))
    assert 0.01 < error.mean < 0.1
    assert error.mean <= error.p95 <= error.worst
    assert fit_error(model, sweep(PLANTED)).mean < 0.05


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5), st.integers(0, 99))
def test_no_coefficient_is_ever_negative(values: list[float], seed: int) -> None:
    planted = LinearCostModel(values[0] + 1e5, *values[1:])
    model, _ = fit_cost_model(sweep(planted, noise=0.5, seed=seed))
    assert min(coefficients(model)) >= 0


def test_a_term_that_is_absent_is_found_absent() -> None:
    planted = LinearCostModel(1e6, 1e4, 0.0, 0.0, 3e4)
    model, _ = fit_cost_model(sweep(planted))
    assert model.prefill_pair_ns < 1e-3
    assert model.decode_context_ns < 1e-2


def test_a_negative_slope_is_cut_at_zero_and_the_rest_refitted() -> None:
    rows = [SweepRow((), 1, ctx, 10_000_000 - ctx * 100) for ctx in (100, 1_000, 10_000)]
    rows += [
        SweepRow((), 8, 100, 10_000_000),
        SweepRow(((10, 0),), 0, 0, 10_000_000),
        SweepRow(((99, 9),), 0, 0, 10**7),
    ]
    model, error = fit_cost_model(rows)
    assert model.decode_context_ns == 0
    assert 9_000_000 < model.decode_ns(1, 0) < 10_100_000
    assert error.worst < 0.1


def test_a_sweep_without_prefill_cannot_be_fitted() -> None:
    with pytest.raises(InvalidProfile) as caught:
        fit_cost_model([row for row in sweep(PLANTED) if not row.chunks])
    assert caught.value.field == "prefill_token_ns"


def test_a_sweep_that_never_varies_the_batch_cannot_be_fitted() -> None:
    rows = [SweepRow(((n, 0),), 4, 4 * n, 1_000_000 + n) for n in (10, 20, 30, 40, 50, 60)]
    with pytest.raises(InvalidProfile, match="tell the coefficients apart"):
        fit_cost_model(rows)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (SweepRow((), 1, 10, 0), "rows[0].measured_ns"),
        (SweepRow((), -1, 10, 5), "rows[0]"),
        (SweepRow((), 0, 0, 5), "rows[0]"),
        (SweepRow(((4, -1),), 0, 0, 5), "rows[0]"),
    ],
)
def test_a_malformed_row_is_named(row: SweepRow, field: str) -> None:
    with pytest.raises(InvalidProfile) as caught:
        fit_cost_model([row, *sweep(PLANTED)])
    assert caught.value.field == field


def test_no_rows_at_all_are_refused() -> None:
    with pytest.raises(InvalidProfile):
        fit_cost_model([])
