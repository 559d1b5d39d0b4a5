"""The online correction: slow, bounded, honest about its error, and without a hand on quanta."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Tick
from skipjoin.cost.online import CorrectedCostModel, OnlineCorrection
from skipjoin.cost.profiles import load_profile
from skipjoin.scheduler.mlfq import MlfqPolicy

BASE = load_profile("opt-13b-a100").model


def test_a_steady_ratio_is_learned_and_the_error_falls() -> None:
    correction = OnlineCorrection()
    for _ in range(3_000):
        correction.observe(1_000_000, 1_300_000)
    assert correction.factor == pytest.approx(1.3, rel=0.01)
    assert correction.relative_error < 0.02
    assert correction.observations == 3_000
    for _ in range(3_000):
        correction.observe(1_000_000, 800_000)
    assert correction.factor == pytest.approx(0.8, rel=0.02)


def test_noise_leaves_the_factor_and_shows_in_the_error() -> None:
    draw, correction = random.Random(1), OnlineCorrection()
    for _ in range(5_000):
        correction.observe(1_000_000, round(1_000_000 * draw.uniform(0.8, 1.25)))
    assert correction.factor == pytest.approx(1.0, abs=0.05)
    assert correction.relative_error == pytest.approx(0.11, abs=0.03)


def test_one_hiccup_moves_little_even_at_the_start() -> None:
    correction = OnlineCorrection()
    correction.observe(1_000_000, 10**12)
    assert correction.factor < 1.05


@given(st.lists(st.tuples(st.integers(-5, 10**15), st.integers(-5, 10**15)), max_size=60))
def test_the_factor_is_bounded_whatever_is_seen(pairs: list[tuple[int, int]]) -> None:
    correction = OnlineCorrection()
    for predicted, measured in pairs * 20:
        correction.observe(predicted, measured)
    assert 0.25 - 1e-9 <= correction.factor <= 4.0 + 1e-9
    assert correction.relative_error >= 0


def test_predictions_scale_and_moves_do_not() -> None:
    correction = OnlineCorrection()
    model = CorrectedCostModel(BASE, correction)
    assert model.decode_ns(3, 900) == BASE.decode_ns(3, 900)
    for _ in range(5_000):
        correction.observe(100, 200)
    assert correction.factor == pytest.approx(2.0, rel=0.01)
    for ask in (
        lambda cost: cost.decode_ns(3, 900),
        lambda cost: cost.prompt_ns(77),
        lambda cost: cost.chunk_ns(77, 5),
        lambda cost: cost.iteration_ns([(77, 5)], 3, 900),
        lambda cost: cost.alone_ns(77, 9),
    ):
        assert ask(model) == pytest.approx(ask(BASE) * correction.factor, rel=1e-6)
    assert model.move_ns(500) == BASE.move_ns(500)
    assert model.decode_ns(0, 0) == 0


def test_quanta_stay_where_they_were_at_start() -> None:
    correction = OnlineCorrection()
    policy = MlfqPolicy("skipjoin", CorrectedCostModel(BASE, correction))
    for _ in range(5_000):
        correction.observe(100, 300)
    assert policy.ladder.quantum_ns(1) == BASE.decode_ns(1, 0)
    policy.submitted(JobAttributes(Handle(1), 0, 1, 1, 1, 1), Tick(0, 0, 0))
    assert [policy.ladder.quantum_ns(level) for level in (2, 3)] == [BASE.decode_ns(1, 0) * 2, BASE.decode_ns(1, 0) * 4]


def test_an_iteration_that_took_next_to_nothing_hides_no_error() -> None:
    correction = OnlineCorrection()
    for _ in range(600):
        correction.observe(1_000_000, 1_000_000)
    correction.observe(10**12, 1)
    assert correction.relative_error < 0.01


def test_an_engine_that_tells_its_own_predictions_does_not_run_away() -> None:
    """A prediction holds the factor already; taken for the base's it would be learned twice and end
    at the root of the truth.
    """
    correction = OnlineCorrection()
    model = CorrectedCostModel(BASE, correction)
    truth_ns = 2 * BASE.decode_ns(8, 8_000)
    for _ in range(4_000):
        model.observed(model.decode_ns(8, 8_000), truth_ns, correction.factor)
    assert model.decode_ns(8, 8_000) == pytest.approx(truth_ns, rel=0.01)
    assert correction.factor == pytest.approx(2.0, rel=0.01)
    assert correction.relative_error < 0.01
