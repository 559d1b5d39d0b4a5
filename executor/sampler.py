"""The next token of every job in the batch, and what is told about it.

Owns what a sampler needs beyond logits: the columns of the batch's jobs, kept on the device while the same jobs run, the counts that penalties go by,
and log-probabilities. The draw itself is one of `Kernels`. It does not know what stops a job. The runner calls it once an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.outcome import TokenLogprobs
from ..core.plan import Int64s
from ..kernels.dispatch import Kernels
from ..kernels.sampling import COLUMNS, SamplingColumns, columns_on
from .handles import HandleTable
from .sampled_jobs import SampledJobs


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


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """The columns of `jobs`; they hold for that object."""

    jobs: SampledJobs
    columns: SamplingColumns
    positions: Int64s | None  # the memory of the column, where that is the host's


class Sampler:
    """Samples for the jobs of one handle table."""

    def __init__(self, table: HandleTable, kernels: Kernels) -> None:
        self._table = table
        self._sample = kernels.sample
        self._kept: _Kept | None = None

    def sample(self, logits: Tensor, jobs: SampledJobs, positions: Int64s, seen: SeenTokens | None) -> SampledTokens:
        """One token for each of logits[n, vocab]; row i belongs to job i of `jobs`, its token gets the place `positions[i]`.

        `seen` is needed when any of the jobs has a penalty; rows of jobs without one are not changed by it.
        """
        columns = self._columns(jobs, positions, logits.device)
        counts = (None, None) if seen is None else (seen.output, seen.anywhere)
        tokens, finite = self._sample(logits, columns, *counts)
        most = jobs.most_logprobs
        if most < 0:
            return SampledTokens(tokens, finite)
        distribution = torch.where(finite[:, None], logits, 0).double().log_softmax(dim=-1)
        top = distribution.topk(min(max(most, 1), logits.shape[-1]), dim=-1)
        return SampledTokens(tokens, finite, distribution.gather(1, tokens[:, None])[:, 0], top.indices, top.values)

    def _columns(self, jobs: SampledJobs, positions: Int64s, device: torch.device) -> SamplingColumns:
        kept = self._kept
        if kept is not None and kept.jobs is jobs:
            if kept.positions is None:
                kept.columns.position.copy_(torch.from_numpy(positions), non_blocking=True)
            else:
                kept.positions[:] = positions  # in a fraction of torch's time for so few
            return kept.columns
        held, rows = self._table.columns, jobs.rows
        values = {name: held[name][rows] for name in COLUMNS if name != "position"}
        values["temperature"] = np.where(held["greedy"][rows], 0.0, values["temperature"])
        columns = columns_on(device, values | {"position": positions})
        self._kept = _Kept(jobs, columns, columns.position.numpy() if columns.position.is_cpu else None)
        return columns


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
