"""From logits to the next token of every job in the batch, without a loop over jobs.

Owns penalties, filters, draws and log-probabilities. A job's token depends on its own logits, parameters, seed and position, never on its
neighbours in the batch. It does not know what stops a job. The runner calls it once an iteration.

Order: penalties, temperature, top-k, top-p over what top-k leaves, min-p, then one draw by inverse distribution in vocabulary order.
Equal logits at a filter's border stay in together, so that the kept set does not depend on how a sort breaks ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.outcome import TokenLogprobs
from ..core.plan import Int64s
from .draw import uniform
from .handles import HandleTable

_FIRST_TOP_P = 256
"""On the CPU top-p looks at this many best tokens first; a full sort of the vocabulary follows only where they do not suffice."""


_ONE_THREAD_UP_TO = 2**20
"""Logits up to which a CPU samples on one thread: waiting for a second one costs more than it saves, and without bound on a busy machine."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledTokens:
    """`tokens` int64[n]; `finite` bool[n], false where the logits were not and the token means nothing; both on the device.

    `chosen` float64[n], `top_ids` and `top_values` [n, k] are None when no job asked for log-probabilities.
    """

    tokens: Tensor
    finite: Tensor
    chosen: Tensor | None = None
    top_ids: Tensor | None = None
    top_values: Tensor | None = None

    def logprobs(self, wanted: Int64s) -> tuple[TokenLogprobs | None, ...] | None:
        """Per job, `wanted[i]` alternatives, -1 for none at all. None when nobody asked."""
        if self.chosen is None or self.top_ids is None or self.top_values is None:
            return None
        chosen, ids, values = self.chosen.tolist(), self.top_ids.tolist(), self.top_values.tolist()
        return tuple(
            None if k < 0 else TokenLogprobs(chosen[i], tuple(zip(ids[i][:k], values[i][:k], strict=True)))
            for i, k in enumerate(wanted.tolist())
        )


@dataclass(frozen=True, slots=True, eq=False)
class SeenTokens:
    """Tokens of the jobs in the batch so far: `output` int32[n, vocab] counts, `anywhere` bool[n, vocab] with the prompt."""

    output: Tensor
    anywhere: Tensor

    def add(self, tokens: Tensor) -> None:
        """Count one new token int64[n] for each row."""
        self.output.scatter_add_(1, tokens[:, None], torch.ones_like(tokens[:, None], dtype=self.output.dtype))
        self.anywhere.scatter_(1, tokens[:, None], True)


@torch.inference_mode()
def sample(
    logits: Tensor, table: HandleTable, rows: Int64s, positions: Int64s, seen: SeenTokens | None
) -> SampledTokens:
    """One token for each of logits[n, vocab]; row i belongs to `rows[i]` of the table, its token gets the place `positions[i]`.

    `seen` is needed when any of the jobs has a penalty; rows of jobs without one are not changed by it.
    """
    threads = torch.get_num_threads()
    alone = logits.device.type == "cpu" and logits.numel() <= _ONE_THREAD_UP_TO and threads > 1
    if alone:
        torch.set_num_threads(1)
    try:
        return _sample(logits, table, rows, positions, seen)
    finally:
        if alone:
            torch.set_num_threads(threads)


@torch.inference_mode()
def _sample(
    logits: Tensor, table: HandleTable, rows: Int64s, positions: Int64s, seen: SeenTokens | None
) -> SampledTokens:
    columns = table.columns
    wanted = columns["logprobs"][rows]
    all_greedy = bool(columns["greedy"][rows].all())
    if all_greedy and seen is None and int(wanted.max(initial=-1)) < 0:
        best, tokens = _best(logits)
        return SampledTokens(tokens, torch.isfinite(best))
    finite = torch.isfinite(logits.amax(dim=-1))
    raw = torch.where(finite[:, None], logits, 0).double()
    scores = raw if seen is None else _penalise(raw, table, rows, seen)
    tokens = scores.argmax(dim=-1)
    if not all_greedy:
        drawn = _draw(scores, table, rows, positions)
        tokens = torch.where(_column(columns["greedy"][rows], logits), tokens, drawn)
    if int(wanted.max(initial=-1)) < 0:
        return SampledTokens(tokens, finite)
    distribution = raw.log_softmax(dim=-1)
    top = distribution.topk(min(max(int(wanted.max()), 1), logits.shape[-1]), dim=-1)
    return SampledTokens(tokens, finite, distribution.gather(1, tokens[:, None])[:, 0], top.indices, top.values)


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Largest logit and its first place in each row; NaN counts as the largest."""
    if logits.device.type == "cpu" and logits.dtype in (torch.float32, torch.float64):
        # numpy compares a vector's worth at once: 64 rows of 8,192 in a quarter of torch's time.
        tokens = torch.from_numpy(logits.numpy().argmax(axis=-1))
        return logits.gather(1, tokens[:, None])[:, 0], tokens
    best, tokens = logits.max(dim=-1)
    return best, tokens


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, non_blocking=True)


def _penalise(scores: Tensor, table: HandleTable, rows: Int64s, seen: SeenTokens) -> Tensor:
    """Repetition divides or multiplies the logits of tokens seen anywhere (Keskar et al. 2019); presence and frequency subtract."""
    columns = table.columns
    repetition, presence, frequency = (
        _column(columns[name][rows], scores)[:, None] for name in ("repetition", "presence", "frequency")
    )
    repeated = torch.where(scores > 0, scores / repetition, scores * repetition)
    scores = torch.where(seen.anywhere, repeated, scores)
    return scores - frequency * seen.output - presence * (seen.output > 0)


def _draw(scores: Tensor, table: HandleTable, rows: Int64s, positions: Int64s) -> Tensor:
    """int64[n]: a draw from each row's filtered distribution; rows that are greedy get something harmless."""
    columns = table.columns
    greedy = columns["greedy"][rows]
    temperature = _column(np.where(greedy, 1.0, columns["temperature"][rows]), scores)[:, None]
    # The best score is taken off before the division: a tiny temperature must not turn it into infinity.
    weights = ((scores - scores.amax(dim=-1, keepdim=True)) / temperature).exp()
    top_k = np.where(greedy, 0, np.minimum(columns["top_k"][rows], scores.shape[-1]))
    if top_k.any():
        weights = _keep_top_k(weights, top_k)
    top_p = np.where(greedy, 1.0, columns["top_p"][rows])
    if (top_p < 1.0).any():
        weights = _keep_top_p(weights, _column(top_p, scores))
    if columns["min_p"][rows].any():
        # The best token's weight is 1.
        weights = torch.where(weights >= _column(columns["min_p"][rows], scores)[:, None], weights, 0.0)
    cumulative = weights.cumsum(dim=-1)
    draws = uniform(_column(columns["seed"][rows], scores), _column(positions, scores))
    # The first token whose cumulative weight reaches a target above zero has a weight above zero.
    return torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None])[:, 0]


def _keep_top_k(weights: Tensor, top_k: np.ndarray) -> Tensor:
    """Zero all but the k largest of each row (0: keep all)."""
    best = weights.topk(int(top_k.max()), dim=-1).values
    last = _column(np.maximum(top_k, 1) - 1, weights)[:, None]
    border = torch.where(_column(top_k, weights)[:, None] > 0, best.gather(1, last), 0.0)
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


def seen_tokens(table: HandleTable, handles: Int64s, pending: Tensor, vocab_size: int) -> SeenTokens:
    """Count the tokens of the jobs in `handles` anew; jobs without penalties keep empty rows.

    `pending` int64[n] on the device is each job's newest token, added for jobs whose history on the host is one token behind.
    """
    output = torch.zeros(len(handles), vocab_size, dtype=torch.int32)
    anywhere = torch.zeros(len(handles), vocab_size, dtype=torch.bool)
    behind = np.zeros((len(handles), 1), dtype=np.int32)
    for i, handle in enumerate(handles.tolist()):
        job = table.resident(handle)
        if job.history is None:
            continue
        history = torch.tensor(job.history)
        anywhere[i, history] = True
        output[i] = torch.bincount(history[job.prompt_tokens :], minlength=vocab_size)
        behind[i] = int(table.columns["known"][job.row]) - len(job.history)
    output = output.to(pending.device)
    output.scatter_add_(1, pending[:, None], torch.from_numpy(behind).to(pending.device))
    return SeenTokens(output, anywhere.to(pending.device) | (output > 0))
