"""Prompts of given lengths: the same for the same seed, whoever is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from measured import workload

from skipjoin.bench.load.loops import requests_of


def test_lengths_order_and_range() -> None:
    jobs = replace(workload([0, 1, 2]), prompt_tokens=np.array([3, 500, 1], dtype=np.int32))
    asked = requests_of(jobs, 7)
    assert [(one.number, len(one.prompt), one.new_tokens) for one in asked] == [(0, 3, 3), (1, 500, 3), (2, 1, 3)]
    assert all(one.prompt.dtype == np.int32 for one in asked)
    assert set(asked[1].prompt.tolist()) == set(range(7))


@pytest.mark.parametrize("vocabulary", [1, 256, 2**31 - 1])
def test_ids_stay_below_the_vocabulary(vocabulary: int) -> None:
    ids = np.concatenate([one.prompt for one in requests_of(workload(range(20), prompt=100), vocabulary)])
    assert 0 <= ids.min() <= ids.max() < vocabulary
    assert ids.max() >= vocabulary // 2


def test_a_seed_is_a_workload() -> None:
    jobs = workload(range(10), prompt=50)
    first, again = requests_of(jobs, 1000), requests_of(jobs, 1000)
    other, longer = requests_of(replace(jobs, seed=1), 1000), requests_of(workload(range(20), prompt=50), 1000)
    for one, two in zip(first, again, strict=True):
        assert (one.prompt == two.prompt).all()
    assert (first[0].prompt != other[0].prompt).any()
    assert all((one.prompt == more.prompt).all() for one, more in zip(first, longer, strict=False))
    assert (first[0].prompt != first[1].prompt).any()
