"""The jobs that get a token in an iteration.

Owns their rows, and what of their sampling is asked in every iteration, on the host and on the device. It does not know logits or tokens. The batch
builder makes it and keeps it while the same jobs decode; sampler and runner read it, and keep by it what they derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.plan import Int64s
from .handles import HandleTable


@dataclass(frozen=True, slots=True, eq=False)
class SampledJobs:
    """`handles` and `rows` (of the handle table) int64[n] in the order core/plan.py states; `rows_there`: the same rows on the device.

    `logprobs` int64[n]: alternatives that a job wants beside its token, -1 for no log-probabilities; `most_logprobs`: the largest of them.
    `penalised`: whether any job's earlier tokens change its logits.
    """

    handles: Int64s
    rows: Int64s
    rows_there: Tensor
    logprobs: Int64s
    most_logprobs: int
    penalised: bool

    def __len__(self) -> int:
        return len(self.handles)


def sampled_jobs(table: HandleTable, handles: Int64s, rows: Int64s, device: torch.device) -> SampledJobs:
    """What the table says of the jobs on `rows` now; a job's sampling changes with the table's version only."""
    wanted = table.columns["logprobs"][rows]
    return SampledJobs(
        handles,
        rows,
        torch.from_numpy(rows).to(device, non_blocking=True),
        wanted,
        int(wanted.max(initial=-1)),
        bool(table.columns["penalised"][rows].any()),
    )
