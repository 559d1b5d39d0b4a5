"""The newest tokens by row: what was put in comes out, and stays when there is more room."""

from __future__ import annotations

import numpy as np
import torch

from skipjoin.executor.sampling.last_tokens import LastTokens
from skipjoin.executor.sampling.sampler import SampledTokens


def test_tokens_come_out_as_they_were_put_in():
    tokens = LastTokens(4, torch.device("cpu"))

    def put(rows, numbers):
        given = torch.tensor(numbers)
        sampled = SampledTokens(given, torch.ones(len(numbers), dtype=torch.bool), given.numpy())
        tokens.put(np.array(rows), torch.tensor(rows), sampled)

    def of(*rows):
        return tokens.of(np.array(rows), torch.tensor(rows)).tolist()

    assert of(0, 3) == [0, 0]
    put([2, 0], [7, 9])
    before = tokens.of(np.array([0, 2]), torch.tensor([0, 2]))
    put([2], [8])
    assert of(3, 2, 0) == [0, 8, 9]
    assert before.tolist() == [9, 7], "a forward pass may still read what it was given"
    tokens.fit(4)
    tokens.fit(6)
    put([5], [1])
    assert of(5, 2, 4) == [1, 8, 0]
