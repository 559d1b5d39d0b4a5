"""A forecast: what a score may say, how far it is believed, and that a wrong one is found out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.ids import Handle, TenantId
from skipjoin.core.policy import JobAttributes
from skipjoin.scheduler.lengths.features import PLACES, keys_of
from skipjoin.scheduler.lengths.forecast import Forecast, mixture
from skipjoin.scheduler.lengths.guard import LARGEST_LEAD, Guard
from skipjoin.scheduler.lengths.hazards import BINS, EDGES, NO_SCORE, Lengths, bin_of
from skipjoin.scheduler.lengths.score import LengthScore
from skipjoin.scheduler.lengths.score_table import (
    BUCKETS,
    PRIOR_LIVES,
    STEP,
    ScoreTable,
    lognormal_hazards,
    score_bucket,
)


def attributes(tenant: str = "default", prompt: int = 100, earlier: int = 0) -> JobAttributes:
    return JobAttributes(
        Handle(0), 0, prompt, prompt, 1, 10_000, tenant=TenantId(tenant), earlier_output_tokens=earlier
    )


def live(forecast: Forecast, job: JobAttributes, tokens: int) -> None:
    life, last = forecast.expect(job), bin_of(tokens - 1)
    forecast.passed(life, 0, last)
    if forecast.ended(life, last, tokens):
        forecast.rebuild()


def teach(forecast: Forecast, rounds: int, lengths: dict[str, float], seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        for tenant, mean in lengths.items():
            live(forecast, attributes(tenant), max(round(rng.lognormal(math.log(mean), 0.3)), 1))


def expected(forecast: Forecast, tenant: str) -> float:
    life, tokens = forecast.expect(attributes(tenant)), 0.0
    hazards = forecast.curve(life.bucket, life.score)
    for begin, end, hazard in zip(EDGES[-2::-1], EDGES[:0:-1], hazards[-2::-1], strict=True):
        tokens = (end - begin) * (1 - hazard / 2) + (1 - hazard) * tokens
    return tokens


# the score
# ----------------------------------------------------------------------------------------------------
def test_a_tenant_is_told_from_another_by_its_answers() -> None:
    forecast = Forecast(score=LengthScore(b"salt"))
    teach(forecast, 150, {"short": 30, "long": 1500})
    assert forecast.guard.weight > 0.95
    assert expected(forecast, "short") < 60
    assert 1000 < expected(forecast, "long") < 2500
    assert expected(forecast, "short") < expected(forecast, "new tenant") < expected(forecast, "long")


def test_a_conversation_goes_on_as_it_went() -> None:
    score = LengthScore()
    rng = np.random.default_rng(2)
    for _ in range(600):
        earlier = int(rng.integers(10, 2000))
        keys = score.keys(attributes(earlier=earlier))
        score.learn(keys, score.mu(keys), earlier)
    guesses = [score.mu(score.keys(attributes(earlier=earlier))) for earlier in (20, 200, 1500)]
    assert guesses == sorted(guesses)
    assert guesses[2] - guesses[0] > 1.5


def test_one_wild_answer_moves_a_guess_by_less_than_three_doublings() -> None:
    score = LengthScore()
    keys = score.keys(attributes("new"))
    before = score.mu(keys)
    score.learn(keys, before, 10**6)
    assert 0 < score.mu(keys) - before < math.log(8)


def test_keys_stay_in_the_table_and_depend_on_the_salt() -> None:
    names = [f"tenant {number}" for number in range(300)]
    plain, salted = ([keys_of(attributes(name), salt)[2] for name in names] for salt in (b"", b"salt"))
    assert all(0 <= key < PLACES for key in plain + salted)
    assert sum(a == b for a, b in zip(plain, salted, strict=True)) < 3
    assert len(set(plain)) > 280


def test_the_spread_is_that_of_the_guesses() -> None:
    score, rng = LengthScore(), np.random.default_rng(3)
    for _ in range(3000):
        keys = score.keys(attributes())
        score.learn(keys, score.mu(keys), max(round(rng.lognormal(5.0, 0.5)), 1))
    assert score.sd == pytest.approx(0.5, rel=0.2)
    assert score.mu(score.keys(attributes())) == pytest.approx(5.0, abs=0.2)


# the table
# ----------------------------------------------------------------------------------------------------
def test_guesses_are_rounded_to_buckets_that_end_somewhere() -> None:
    assert [score_bucket(mu) for mu in (-3.0, 0.0, 0.16, 3.0, 99.0)] == [0, 0, 1, 10, BUCKETS - 1]


def test_a_lognormal_has_its_hazards_at_every_age() -> None:
    hazards = lognormal_hazards(5.0, 0.7, EDGES)
    lives = np.random.default_rng(4).lognormal(5.0, 0.7, 200_000)
    for age_bin in range(bin_of(900)):
        reached = lives >= EDGES[age_bin]
        share = (lives[reached] < EDGES[age_bin + 1]).mean()
        assert hazards[age_bin] == pytest.approx(share, abs=0.03)
    assert all(0 <= hazard <= 1 for hazard in hazards)
    assert lognormal_hazards(0.0, 0.2, EDGES)[-2] > 0.9  # nobody is left; it does not begin anew


def test_a_bucket_is_its_prior_until_lives_are_many() -> None:
    table = ScoreTable(EDGES, 1e9)
    prior = table.hazards(1.0)[10, 0]
    for _ in range(int(PRIOR_LIVES)):
        table.counts.ended(10, 0)
    assert table.hazards(1.0)[10, 0] == pytest.approx((1 + prior) / 2)
    assert table.hazards(1.0)[11, 0] == pytest.approx(lognormal_hazards(11 * STEP, 1.0, EDGES)[0])


# the guard
# ----------------------------------------------------------------------------------------------------
def tables(good: float, bad: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full((1, BINS), good), np.full((1, BINS), bad)


def test_before_anything_is_foretold_both_are_believed_alike() -> None:
    guard = Guard()
    guard.passed(0, 0, 0, 5)
    guard.ended(0, 0, 5)
    assert guard.weight == 0.5


def test_the_better_forecast_wins_and_loses_again_when_it_goes_bad() -> None:
    guard = Guard()
    guard.compare(*tables(0.5, 0.1))
    for _ in range(500):
        guard.ended(0, 0, 0)  # likely under the first
    assert guard.weight > 0.99
    for _ in range(40):
        guard.passed(0, 0, 0, 2)
        guard.ended(0, 0, 2)
        guard.passed(0, 0, 0, 9)  # jobs that still run have their say
    assert guard.weight < 0.05


@given(st.lists(st.tuples(st.booleans(), st.integers(0, BINS - 1)), max_size=200))
def test_a_lead_is_bounded_whatever_happens(events: list[tuple[bool, int]]) -> None:
    guard = Guard()
    guard.compare(*tables(1.0, 1e-6))
    for ends, age_bin in events:
        if ends:
            guard.ended(0, 0, age_bin)
        else:
            guard.passed(0, 0, 0, age_bin)
    assert abs(guard.lead) <= LARGEST_LEAD
    assert 0 < guard.weight < 1


hazard = st.floats(1e-6, 1.0)
row = st.lists(hazard, min_size=BINS, max_size=BINS).map(np.array)


@given(row, row, st.floats(0.0, 1.0))
def test_a_mixture_lies_between_its_parts_at_every_age(a: np.ndarray, b: np.ndarray, weight: float) -> None:
    mixed = mixture(a, b, weight)[:-1]
    low, high = np.minimum(a, b)[:-1], np.maximum(a, b)[:-1]
    assert (mixed >= np.maximum(low, 1e-6) - 1e-5).all()
    assert (mixed <= high + 1e-5).all()
    assert mixture(a, b, 0.5)[-1] == 1.0


def test_who_outlives_its_guess_is_judged_by_those_who_do() -> None:
    short, long = np.full(BINS, 0.6), np.full(BINS, 0.05)
    mixed = mixture(short, long, 0.7)
    assert mixed[0] > 0.4
    assert mixed[8] < 0.06


# the forecast
# -------------------------------------------------------------------------------------------------
def test_without_a_score_it_is_the_life_table_of_prompts() -> None:
    forecast, lengths = Forecast(), Lengths()
    for tokens in np.random.default_rng(5).geometric(1 / 100, 300).tolist():
        live(forecast, attributes(), tokens)
        lengths.passed(lengths.bucket(100), 0, bin_of(tokens - 1))
        if lengths.ended(lengths.bucket(100), bin_of(tokens - 1)):
            lengths.rebuild()
    life = forecast.expect(attributes())
    assert life.score == NO_SCORE
    assert (forecast.curve(life.bucket, life.score) == lengths.hazards[life.bucket]).all()


class Constant:
    """Says the same of every job, and is wrong."""

    sd = 0.3

    def __init__(self, mu: float) -> None:
        self._mu = mu

    def keys(self, attributes: JobAttributes) -> tuple[int, ...]:
        return ()

    def mu(self, keys: tuple[int, ...]) -> float:
        return self._mu

    def learn(self, keys: tuple[int, ...], guessed: float, tokens: int) -> None:
        pass


def test_a_score_that_is_wrong_is_not_believed() -> None:
    forecast = Forecast(score=Constant(9.0))
    teach(forecast, 40, {"one": 40})
    assert forecast.guard.weight < 0.05
    assert expected(forecast, "one") < 80


def test_whoever_is_cut_off_teaches_no_length() -> None:
    forecast = Forecast(score=LengthScore())
    teach(forecast, 50, {"one": 500})
    before = forecast.expect(attributes("one")).mu
    for _ in range(200):
        forecast.passed(forecast.expect(attributes("one")), 0, bin_of(20))
    assert forecast.expect(attributes("one")).mu == before
