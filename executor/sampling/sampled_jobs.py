"""The jobs that get a token in an iteration.

Owns their rows, and what of their sampling is asked in every iteration, on the host and on the
device. It does not know logits or tokens. The batch builder makes it and keeps it while the same
jobs decode; sampler, penalties and runner read it, and keep by it what they derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...core.plan import Int64s
from ..handles import HandleTable, Resident


@dataclass(frozen=True, slots=True, eq=False)
class SampledJobs:
    """`handles` and `rows` (of the handle table) int64[n] in the order core/plan.py states;
    `rows_there`: the same rows on the device.

    `logprobs` int64[n]: alternatives that a job wants beside its token, -1 for no
    log-probabilities; `most_logprobs`: the largest of them. `penalised`: place among the n, and
    what was admitted, of each job whose earlier tokens change its logits.
    """

    handles: Int64s
    rows: Int64s
    rows_there: Tensor
    logprobs: Int64s
    most_logprobs: int
    penalised: tuple[tuple[int, Resident], ...]

    def __len__(self) -> int:
        return len(self.handles)


def sampled_jobs(table: HandleTable, handles: Int64s, rows: Int64s, rows_there: Tensor) -> SampledJobs:
    """What the table says of the jobs on `rows` now; a job's sampling changes with the table's
    version only.
    """
    wanted = table.columns["logprobs"][rows]
    penalised = np.flatnonzero(table.columns["penalised"][rows]).tolist()
    return SampledJobs(
        handles,
        rows,
        rows_there,
        wanted,
        int(wanted.max(initial=-1)),
        tuple((i, table.resident(int(handles[i]))) for i in penalised),
    )
