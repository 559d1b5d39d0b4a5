"""The next token of every job in the batch, and what is told about it.

Owns what a sampler needs beyond logits: the columns of the batch's jobs, kept on the device while
the same jobs run, and log-probabilities. The draw itself is one of `Kernels`. It does not know what
stops a job. The runner calls it once an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...core.outcome import TokenLogprobs
from ...core.plan import Int64s
from ...kernels.bring import Bring
from ...kernels.dispatch import Kernels
from ...kernels.sampling import COLUMNS, SamplingColumns, columns_of
from ..handles import HandleTable
from .penalties import SeenTokens
from .sampled_jobs import SampledJobs


@dataclass(frozen=True, slots=True, eq=False)
class SampledTokens:
    """`tokens` int64[n]; `finite` bool[n], false where the logits were not and the token means
    nothing; both on the device.

    `here`: the memory of `tokens` where that is the host's, else None. `chosen` float64[n],
    `top_ids` and `top_values` [n, k] are None when no job asked for log-probabilities.
    """

    tokens: Tensor
    finite: Tensor
    here: Int64s | None
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


def memory_here(tokens: Tensor) -> Int64s | None:
    """Their memory where that is the host's, else None."""
    return tokens.numpy() if tokens.is_cpu else None


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """The columns of `jobs`; they hold for that object."""

    jobs: SampledJobs
    columns: SamplingColumns
    positions: Int64s | None  # the memory of the column, where that is the host's


class Sampler:
    """Samples for the jobs of one handle table. `keep` brings arrays to the device that are held
    for longer than an iteration.
    """

    def __init__(self, table: HandleTable, kernels: Kernels, keep: Bring) -> None:
        self._table = table
        self._sample = kernels.sample
        self._keep = keep
        self._kept: _Kept | None = None

    def sample(
        self, logits: Tensor, jobs: SampledJobs, positions: Int64s, there: Tensor, seen: SeenTokens | None
    ) -> SampledTokens:
        """One token for each of logits[n, vocab]; row i belongs to job i of `jobs`, its token gets
        the place `positions[i]`.

        `there`: the positions on the device, for this iteration. `seen` is needed when any of the
        jobs has a penalty; rows of jobs without one are not changed by it.
        """
        columns = self._columns(jobs, positions, there)
        counts = (None, None) if seen is None else (seen.output, seen.anywhere)
        tokens, finite = self._sample(logits, columns, *counts)
        here = memory_here(tokens)
        most = jobs.most_logprobs
        if most < 0:
            return SampledTokens(tokens, finite, here)
        distribution = torch.where(finite[:, None], logits, 0).double().log_softmax(dim=-1)
        top = distribution.topk(min(max(most, 1), logits.shape[-1]), dim=-1)
        chosen = distribution.gather(1, tokens[:, None])[:, 0]
        return SampledTokens(tokens, finite, here, chosen, top.indices, top.values)

    def _columns(self, jobs: SampledJobs, positions: Int64s, there: Tensor) -> SamplingColumns:
        kept = self._kept
        if kept is not None and kept.jobs is jobs:
            if kept.positions is None:
                return replace(kept.columns, position=there)
            kept.positions[:] = positions  # in a fraction of torch's time for so few
            return kept.columns
        held, rows = self._table.columns, jobs.rows
        values = {name: held[name][rows] for name in COLUMNS if name != "position"}
        values["temperature"] = np.where(held["greedy"][rows], 0.0, values["temperature"])
        columns = columns_of(values | {"position": positions}, self._keep)
        self._kept = _Kept(jobs, columns, columns.position.numpy() if columns.position.is_cpu else None)
        return columns
