"""The contest of sampling, where every token must be the right one.

Owns a truth that is written apart from both samplers: one row after the other, in numpy, by sorting. It knows no clock. `study` calls the maker.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.ids import Handle
from ...core.plan import Admit, Int64s
from ...core.sampling import SamplingParams
from ...executor.handles import HandleTable
from ...kernels.draw import uniform
from .contest import OURS, REFERENCE, Contest, Contestant, Work
from .scenario import Case, ModelShape
from .subject import Sample, Subject, plain_sample

MIX = (
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.8, top_p=0.95),
    SamplingParams(temperature=1.0, top_k=50),
    SamplingParams(temperature=0.7, top_k=40, top_p=0.9, min_p=0.02),
)
"""What the rows ask for, in turn."""


def sampling_contest(
    case: Case, model: ModelShape, subject: Subject, device: torch.device, dtype: torch.dtype
) -> Contest:
    """Rows with the mix above; torch's own way, a softmax of all and `multinomial`, knows neither filters nor seeds and is only timed."""
    rows = case.rows or 1
    logits = (torch.randn(rows, model.vocab_size) * 3).to(dtype).to(device)
    table = HandleTable()
    for handle in range(rows):
        admit = Admit(Handle(handle), np.array([handle % model.vocab_size], np.int32), 1, 1, MIX[handle % len(MIX)], 0)
        table.admit(admit, seed=1000 + handle)
    at = table.rows_of(np.arange(rows))

    def torchs() -> Tensor:
        return torch.multinomial(logits.float().softmax(-1), 1)

    truth = sampled(logits, table, at)

    def contestant(name: str, sample: Sample) -> Contestant:
        def once() -> Tensor:
            return sample(logits, table, at)

        return Contestant(name, once, once, graphable=False)

    contestants = (
        contestant(OURS, subject.sample),
        contestant(REFERENCE, plain_sample),
        Contestant("multinomial", torchs, None, graphable=False),
    )
    return Contest(case.name, case.kernel, contestants, lambda: truth, None, Work(logits.numel() * dtype.itemsize))


def sampled(logits: Tensor, table: HandleTable, rows: Int64s) -> Tensor:
    """int64[n]: what each row draws. Filters in the order top-k, top-p, min-p; equal weights are kept or cut together."""
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
