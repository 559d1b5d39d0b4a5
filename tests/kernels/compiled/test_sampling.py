"""The compiled sampler gives the tokens of the plain one, for every mix of parameters in one batch."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("dtype", "vocab"), [("float32", 1), ("float32", 20), ("float16", 257), ("bfloat16", 2500)])
def test_tokens_are_the_plain_samplers(run, seed, dtype, vocab, ties, penalised):
    # One token that is minus infinity leaves nothing to draw: a vocabulary of one has no finite
    # row.
    rows = 64 if vocab == 20 else 12  # penalties show where many tokens were seen
    drawn = run("sampling_cases.tokens", dtype=dtype, rows=rows, vocab=vocab, seed=seed, ties=ties, penalised=penalised)
    assert drawn == (rows if vocab > 1 else 0)


def test_rows_that_are_not_finite_say_so(run, seed):
    assert run("sampling_cases.tokens", dtype="float32", rows=9, vocab=50, seed=seed, broken=True) == 6


@pytest.mark.parametrize("penalised", [False, True])
def test_a_batch_that_stays_keeps_its_columns_and_its_counts(run, seed, penalised):
    """An odd number of rows, several tokens each."""
    options = {"rows": 7, "vocab": 90, "steps": 5, "penalised": penalised}
    assert run("sampling_cases.tokens", dtype="float32", seed=seed, **options) == 35


def test_a_penalty_next_to_nothing_is_not_finite(run):
    run("sampling_cases.tiny_penalty")


def test_random_numbers_are_those_outside_of_kernels(run, seed):
    run("sampling_cases.random_numbers", seed=seed)


@pytest.mark.gpu
@pytest.mark.parametrize("penalised", [False, True])
def test_a_device_at_full_size(compiler, seed, penalised):
    options = {"dtype": "float32", "rows": 64, "vocab": 128256, "penalised": penalised}
    compiler.ask("sampling_cases.tokens", device="cuda", seed=seed, **options)


@pytest.mark.soak
@pytest.mark.parametrize("case", range(20))
def test_tokens_of_many_batches(run, seed, case):
    options = {"ties": case % 2 == 0, "penalised": case % 3 == 0}
    run("sampling_cases.tokens", dtype="float32", rows=60, vocab=3000 + case, seed=seed + case, **options)
