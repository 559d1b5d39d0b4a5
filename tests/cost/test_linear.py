"""The formula of the cost model, checked term by term."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidProfile
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile

ROUND = LinearCostModel(1_000.0, 10.0, 0.5, 2.0, 30.0, 7.0)


def test_each_term_counts_once() -> None:
    assert ROUND.chunk_ns(4, 6) == 4 * 10 + 4 * 10 // 2
    assert ROUND.prompt_ns(4) == 1_000 + 40 + 8
    assert ROUND.decode_ns(3, 50) == 1_000 + 2 * 50 + 30 * 3
    assert ROUND.iteration_ns([(4, 6), (2, 0)], 3, 50) == 1_000 + (40 + 20) + (20 + 2) + 100 + 90
    assert ROUND.move_ns(9) == 63


def test_nothing_costs_nothing() -> None:
    assert ROUND.decode_ns(0, 0) == 0
    assert ROUND.iteration_ns([], 0, 0) == 0


@given(st.integers(1, 300), st.integers(0, 40))
def test_alone_is_the_prompt_and_one_decode_a_token(prompt: int, output: int) -> None:
    walked = ROUND.prompt_ns(prompt) + sum(ROUND.decode_ns(1, prompt + k) for k in range(1, output))
    assert ROUND.alone_ns(prompt, output) == walked


@given(st.lists(st.integers(1, 500), min_size=1, max_size=6))
def test_chunking_never_charges_more_than_the_whole_prompt(lengths: list[int]) -> None:
    model = load_profile("opt-13b-a100").model
    before, total = 0, 0
    for length in lengths:
        total += model.chunk_ns(length, before)
        before += length
    assert total <= model.chunk_ns(before, 0) + len(lengths)  # rounding


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, True, "3"])
def test_a_cost_that_is_no_cost_is_named(value: object) -> None:
    with pytest.raises(InvalidProfile) as caught:
        LinearCostModel(1_000.0, 10.0, value, 2.0, 30.0)  # type: ignore[arg-type]
    assert caught.value.field == "prefill_pair_ns"


def test_an_iteration_for_nothing_is_refused() -> None:
    with pytest.raises(InvalidProfile, match="quantum"):
        LinearCostModel(0.0, 10.0, 1.0, 2.0, 0.0)


def test_the_shipped_profile_gives_its_sources_times() -> None:
    profile = load_profile("opt-13b-a100")
    assert profile.model.decode_ns(1, 0) == 19_930_000 + 38_500
    assert profile.model.decode_ns(64, 64_000) == 19_930_000 + 627 * 64_000 + 38_500 * 64
    assert profile.model.prompt_ns(1_000) == 19_930_000 + 101_900_000 + 7_120_000
    assert profile.model.move_ns(22_000) == 819_200_000  # 22,000 tokens x 819,200 B at 22 GB/s
    assert (profile.kv_tokens, profile.token_bytes, profile.max_context_tokens) == (66_144, 819_200, None)
    assert "DistServe" in profile.source
