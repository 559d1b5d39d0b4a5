"""The contest of sampling, where every token must be the right one.

Its truth is written apart from both samplers: one row after the other, in numpy, by sorting.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....core.asked import Asked
from ....core.ids import Handle
from ....core.plan import Admit, Int64s
from ....core.sampling import SamplingParams
from ....executor.handles import HandleTable
from ....kernels.draw import uniform
from ..race import Contestant
from ..roofline import Work
from .contest import OURS, REFERENCE, Contest, Ground, exact_contest
from .scenario import Case
from .subject import Sample, plain_sample

MIX = (
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.8, top_p=0.95),
    SamplingParams(temperature=1.0, top_k=50),
    SamplingParams(temperature=0.7, top_k=40, top_p=0.9, min_p=0.02),
)
"""What the rows ask for, in turn."""


def sampling_contest(ground: Ground, case: Case) -> Contest:
    """Rows with the mix above; torch's own way knows neither filters nor seeds and is only timed."""
    rows, vocabulary = case.size, ground.model.vocab_size
    logits = (torch.randn(rows, vocabulary) * 3).to(ground.dtype).to(ground.device)
    table = HandleTable()
    for handle in range(rows):
        admit = Admit(Handle(handle), np.array([handle % vocabulary], np.int32), 1, 1, Asked(MIX[handle % len(MIX)]), 0)
        table.admit(admit, seed=1000 + handle)
    at = table.rows_of(np.arange(rows))

    def torchs() -> Tensor:
        return torch.multinomial(logits.float().softmax(-1), 1)

    truth = sampled(logits, table, at)

    def contestant(name: str, sample: Sample) -> Contestant:
        def once() -> Tensor:
            return sample(logits, table, at)

        return Contestant(name, once, once, graphable=False)

    contestants = [
        contestant(OURS, ground.subject.sample),
        contestant(REFERENCE, plain_sample),
        Contestant("multinomial", torchs, None, graphable=False),
    ]
    return exact_contest(case, contestants, lambda: truth, Work(logits.nbytes))


def sampled(logits: Tensor, table: HandleTable, rows: Int64s) -> Tensor:
    """int64[n]: what each row draws. Top-k, top-p, min-p in this order; equal weights are kept or
    cut together.
    """
    columns = table.columns
    draws = uniform(torch.from_numpy(columns["seed"][rows]), torch.from_numpy(columns["known"][rows])).numpy()
    numbers = logits.double().cpu().numpy()
    tokens = []
    for i, row in enumerate(rows.tolist()):
        if columns["greedy"][row]:
            tokens.append(int(numbers[i].argmax()))
            continue
        weights = np.exp((numbers[i] - numbers[i].max()) / columns["temperature"][row])
        weights = _top(weights, int(columns["top_k"][row]), float(columns["top_p"][row]))
        weights = np.where(weights >= columns["min_p"][row] * weights.max(), weights, 0.0)
        running = weights.cumsum()
        tokens.append(int(np.searchsorted(running, draws[i] * running[-1])))
    return torch.tensor(tokens, dtype=torch.int64)


def _top(weights: NDArray[np.float64], top_k: int, top_p: float) -> NDArray[np.float64]:
    if top_k:
        weights = np.where(weights >= np.sort(weights)[::-1][min(top_k, len(weights)) - 1], weights, 0.0)
    if top_p < 1.0:
        ranked = np.sort(weights)[::-1]
        enough = int(np.searchsorted(ranked.cumsum(), top_p * weights.sum()))
        weights = np.where(weights >= ranked[min(enough, len(ranked) - 1)], weights, 0.0)
    return weights
