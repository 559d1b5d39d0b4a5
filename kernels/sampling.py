"""From logits to tokens in plain torch: penalties, temperature, filters and one draw, all rows at
once.

Owns `SamplingColumns`, what every sampler gets beside the logits, and the reference that the
compiled samplers are held against. A row's token depends on its own logits, parameters, seed and
position, never on its neighbours. It knows neither jobs nor what stops them; the executor's sampler
calls the one that `dispatch` chose.

Order: penalties, temperature, top-k, top-p over what top-k leaves, min-p, then one draw by inverse
distribution in vocabulary order. Equal weights at a filter's border stay in together, so that the
kept set does not depend on how a sort breaks ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bring import Bring
from .draw import uniform

_FIRST_TOP_P = 256
"""On the CPU top-p looks at this many best tokens first; a full sort of the vocabulary follows only
where they do not suffice.
"""

_ONE_THREAD_UP_TO = 2**20
"""Logits up to which a CPU samples on one thread: waiting for a second one costs more than it
saves, and without bound on a busy machine.
"""


@dataclass(frozen=True, slots=True, eq=False)
class SamplingColumns:
    """One entry per row, on the logits' device: float64[n], but `top_k`, `seed` and `position`
    int64[n].

    `temperature` 0 takes the first of the best, without a draw. `top_k` 0, `top_p` 1 and `min_p` 0
    switch a filter off; `repetition` 1, `presence` 0 and `frequency` 0 a penalty. `position` is the
    place that the drawn token gets.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    repetition: Tensor
    presence: Tensor
    frequency: Tensor
    seed: Tensor
    position: Tensor


COLUMNS = tuple(SamplingColumns.__dataclass_fields__)
_WHOLE = ("top_k", "seed", "position")


def columns_of(values: Mapping[str, NDArray[Any]], bring: Bring) -> SamplingColumns:
    """The columns of `values`, float64[n] or int64[n] by name, brought to the device as one array."""
    count = len(values["position"])
    # An even number of entries: each column then starts where 16 divides the address, and kernels
    # need no second form for odd batches.
    packed = np.zeros((len(COLUMNS), count + count % 2), dtype=np.int64)
    for row, name in zip(packed, COLUMNS, strict=True):
        (row if name in _WHOLE else row.view(np.float64))[:count] = values[name]
    (there,) = bring(packed)
    return SamplingColumns(
        *(
            (row if name in _WHOLE else row.view(torch.float64))[:count]
            for row, name in zip(there, COLUMNS, strict=True)
        )
    )


@torch.inference_mode()
def sample(
    logits: Tensor, columns: SamplingColumns, output: Tensor | None = None, anywhere: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(tokens int64[n], finite bool[n]) for logits[n, vocab].

    `output` int32[n, vocab]: how often a row's job has given each token; `anywhere` bool[n, vocab]:
    whether prompt or output hold it. Without them nothing is penalised. `finite` is false where the
    largest logit, before or after penalties, is not a finite number; the token there is 0 and means
    nothing. Sums are float64.
    """
    threads = torch.get_num_threads()
    alone = logits.device.type == "cpu" and logits.numel() <= _ONE_THREAD_UP_TO and threads > 1
    if alone:
        torch.set_num_threads(1)
    try:
        return _sample(logits, columns, output, anywhere)
    finally:
        if alone:
            torch.set_num_threads(threads)


def _sample(
    logits: Tensor, columns: SamplingColumns, output: Tensor | None, anywhere: Tensor | None
) -> tuple[Tensor, Tensor]:
    greedy = columns.temperature == 0
    all_greedy = bool(greedy.all())
    if all_greedy and output is None:
        best, tokens = _best(logits)
        finite = torch.isfinite(best)
        return tokens.where(finite, 0), finite
    finite = torch.isfinite(logits.amax(dim=-1))
    scores = torch.where(finite[:, None], logits, 0).double()
    if output is not None and anywhere is not None:
        scores = _penalise(scores, columns, output, anywhere)
        # A penalty next to nothing drives a logit beyond the numbers there are.
        finite = finite & torch.isfinite(scores.amax(dim=-1))
        scores = torch.where(finite[:, None], scores, 0)
    tokens = scores.argmax(dim=-1)
    if not all_greedy:
        tokens = tokens.where(greedy, _draw(scores, columns, greedy))
    return tokens.where(finite, 0), finite


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Largest logit and its first place in each row; NaN counts as the largest."""
    if logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
        # numpy compares a vector's worth at once: 64 rows of 8,192 in a quarter of torch's time.
        tokens = torch.from_numpy(logits.numpy().argmax(axis=-1))
    else:
        tokens = logits.argmax(dim=-1)
    return logits.gather(1, tokens[:, None])[:, 0], tokens


def _penalise(scores: Tensor, columns: SamplingColumns, output: Tensor, anywhere: Tensor) -> Tensor:
    """Repetition divides or multiplies the logits of tokens seen anywhere (Keskar et al. 2019);
    presence and frequency subtract.
    """
    repetition = columns.repetition[:, None]
    repeated = torch.where(scores > 0, scores / repetition, scores * repetition)
    scores = torch.where(anywhere, repeated, scores)
    return scores - columns.frequency[:, None] * output - columns.presence[:, None] * (output > 0)


def _draw(scores: Tensor, columns: SamplingColumns, greedy: Tensor) -> Tensor:
    """int64[n]: a draw from each row's filtered distribution; rows that are greedy get something
    harmless.
    """
    temperature = columns.temperature.where(~greedy, 1.0)[:, None]
    # The best score is taken off before the division: a tiny temperature must not turn it into
    # infinity.
    weights = ((scores - scores.amax(dim=-1, keepdim=True)) / temperature).exp()
    top_k = columns.top_k.where(~greedy, 0).clamp(max=scores.shape[-1])
    if bool(top_k.any()):
        weights = _keep_top_k(weights, top_k)
    top_p = columns.top_p.where(~greedy, 1.0)
    if bool((top_p < 1.0).any()):
        weights = _keep_top_p(weights, top_p)
    if bool(columns.min_p.any()):
        # The best token's weight is 1.
        weights = torch.where(weights >= columns.min_p[:, None], weights, 0.0)
    cumulative = weights.cumsum(dim=-1)
    draws = uniform(columns.seed, columns.position)
    # The first token whose cumulative weight reaches a target above zero has a weight above zero.
    return torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None])[:, 0]


def _keep_top_k(weights: Tensor, top_k: Tensor) -> Tensor:
    """Zero all but the k largest of each row (0: keep all)."""
    best = weights.topk(int(top_k.max()), dim=-1).values
    last = top_k.clamp(min=1)[:, None] - 1
    border = torch.where(top_k[:, None] > 0, best.gather(1, last), 0.0)
    return torch.where(weights >= border, weights, 0.0)


def _keep_top_p(weights: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the smallest set of largest weights that reaches the share `top_p` of each row."""
    target = top_p[:, None] * weights.sum(dim=-1, keepdim=True)
    count = weights.shape[-1]
    first = _FIRST_TOP_P if weights.device.type == "cpu" and count > _FIRST_TOP_P else count
    ranked = weights.topk(first, dim=-1).values
    mass = ranked.cumsum(dim=-1)
    if first < count and bool(((mass[:, -1:] < target) & (top_p[:, None] < 1.0)).any()):
        # numpy sorts values alone, several times faster than torch sorts values with their places.
        ranked = torch.from_numpy(np.sort(weights.numpy(), axis=-1)[:, ::-1].copy())
        mass = ranked.cumsum(dim=-1)
    place = torch.searchsorted(mass, target).clamp_(max=mass.shape[-1] - 1)
    border = torch.where(top_p[:, None] < 1.0, ranked.gather(1, place), 0.0)
    return torch.where(weights >= border, weights, 0.0)
