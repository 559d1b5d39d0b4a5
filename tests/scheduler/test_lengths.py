"""Lengths learned online: known hazards are found again, from lives that are cut off, and old ones
are forgotten.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from skipjoin.scheduler.lengths.hazards import BINS, EDGES, LengthParams, Lengths, bin_of

PROMPT = 100


def live(lengths: Lengths, tokens: int, prompt: int = PROMPT) -> None:
    """A job that had `tokens` tokens and is done."""
    bucket, last = lengths.bucket(prompt), bin_of(tokens - 1)
    lengths.passed(bucket, 0, last)
    if lengths.ended(bucket, last):
        lengths.rebuild()


def geometric(mean: float, count: int, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).geometric(1.0 / mean, count).tolist()


def test_bins_hold_every_age_once_and_grow_by_a_quarter() -> None:
    assert EDGES[0] == 0
    assert all(bin_of(edge) == index and bin_of(edge - 1) == index - 1 for index, edge in enumerate(EDGES) if index)
    assert all(b - a >= 8 and (b - a == 8 or b <= 1.25 * a) for a, b in pairwise(EDGES))
    assert BINS <= 48
    assert bin_of(10**9) == BINS - 1


@pytest.mark.parametrize(
    ("prompt", "bucket"), [(1, 1), (64, 1), (127, 1), (128, 2), (1000, 4), (8191, 7), (8192, 8), (10**6, 8)]
)
def test_prompts_of_like_size_share_a_bucket(prompt: int, bucket: int) -> None:
    assert Lengths().bucket(prompt) == bucket


def test_a_constant_hazard_is_recovered() -> None:
    lengths = Lengths()
    for tokens in geometric(200.0, 4000):
        live(lengths, tokens)
    bucket = lengths.bucket(PROMPT)
    for age_bin in range(bin_of(300)):  # where lives are many
        exact = 1.0 - (1.0 - 1 / 200.0) ** (EDGES[age_bin + 1] - EDGES[age_bin])
        assert lengths.hazards[bucket, age_bin] == pytest.approx(exact, rel=0.45, abs=0.02)
    for age_bin in (0, 5, 10):  # memoryless: as much is left at any age
        assert lengths.expected_tokens(bucket, age_bin) == pytest.approx(200.0, rel=0.2)


def test_jobs_that_still_run_do_not_shorten_what_is_learned() -> None:
    """Half of the jobs are long and none of those has ended: a histogram of ends would say that
    nothing goes beyond 40 tokens.
    """
    lengths = Lengths()
    bucket = lengths.bucket(PROMPT)
    for _ in range(200):
        lengths.passed(bucket, 0, bin_of(2000))  # still running at 2,000
        live(lengths, 40)
    at = bin_of(39)
    assert lengths.hazards[bucket, at] == pytest.approx(0.5, abs=0.02)
    assert lengths.hazards[bucket, at + 1] < 0.01
    assert lengths.expected_tokens(bucket, 0) > 1000.0


def test_old_lengths_fade() -> None:
    lengths = Lengths(LengthParams(memory=100.0))
    for _ in range(500):
        live(lengths, 20)
    short = lengths.expected_tokens(lengths.bucket(PROMPT), 0)
    for _ in range(500):
        live(lengths, 500)
    assert short < 40
    assert lengths.expected_tokens(lengths.bucket(PROMPT), 0) == pytest.approx(500, rel=0.15)


def test_counts_that_fade_for_ever_stay_numbers() -> None:
    lengths = Lengths(LengthParams(memory=10.0, rebuild_every=1))
    hazards = []
    for _ in range(400):  # weights grow by 1 / 0.9 a job, beyond what the tables are rescaled at
        live(lengths, 30)
        hazards.append(lengths.hazards[lengths.bucket(PROMPT), bin_of(29)])
    assert hazards[-1] == pytest.approx(hazards[200], abs=1e-9)
    assert 0.3 < hazards[-1] < 1.0


def test_a_bucket_with_few_lives_leans_on_all_and_with_many_on_its_own() -> None:
    lengths = Lengths()
    for _ in range(300):
        live(lengths, 400, prompt=100)
    rare = lengths.bucket(5000)
    assert lengths.expected_tokens(rare, 0) == pytest.approx(400, rel=0.1)
    for _ in range(600):
        live(lengths, 20, prompt=5000)
    assert lengths.expected_tokens(rare, 0) < 40
    assert lengths.expected_tokens(lengths.bucket(100), 0) > 300


def test_nothing_learned_means_that_more_is_left_the_older_a_job_is() -> None:
    left = [Lengths().expected_tokens(1, age_bin) for age_bin in range(BINS - 8)]
    assert all(a < b for a, b in pairwise(left[3:]))
    assert Lengths().rebuilds == 0
