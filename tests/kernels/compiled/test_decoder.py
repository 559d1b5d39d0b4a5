"""The executor with the compiled kernels gives the tokens that it gives with the references."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("window", "softcap"), [(None, None), (6, 2.0)])
def test_a_decoder_gives_the_same_tokens(run, window, softcap):
    run("decoder_cases.same_tokens", dtype="float32", window=window, softcap=softcap)


def test_an_executor_draws_the_same_tokens(run):
    """Greedy, filtered and penalised jobs in one batch, preempted and moved."""
    run("decoder_cases.same_tokens", dtype="float32", drawn=True)
