"""Which tokens a job has had, for the penalties that go by them.

Owns the counts on the device, kept up to date while the same jobs decode, and counting them anew
when others do. It does not know logits or which penalty a job has. The runner asks it before it
samples, tells it what was sampled, and again when the host has read that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...core.plan import DecodeBatch, IterationPlan
from ...kernels.bring import Bring
from .sampled_jobs import SampledJobs


@dataclass(frozen=True, slots=True, eq=False)
class SeenTokens:
    """Tokens of the jobs in the batch so far: `output` int32[n, vocab] counts, `anywhere` bool[n,
    vocab] with the prompt.
    """

    output: Tensor
    anywhere: Tensor

    def add(self, tokens: Tensor) -> None:
        """Count one new token int64[n] for each row."""
        self.output.scatter_add_(1, tokens[:, None], torch.ones_like(tokens[:, None], dtype=self.output.dtype))
        self.anywhere.scatter_(1, tokens[:, None], True)


Unread = tuple[SampledJobs, Tensor]
"""Jobs, and their tokens int64[n] on the device, which are in no history yet."""


def seen_tokens(jobs: SampledJobs, unread: Sequence[Unread], vocab_size: int, bring: Bring) -> SeenTokens:
    """Count the tokens of `jobs` anew, from their histories and what of `unread` is theirs; jobs
    without penalties keep empty rows.
    """
    device = jobs.rows_there.device
    output = torch.zeros(len(jobs), vocab_size, dtype=torch.int32, device=device)
    anywhere = torch.zeros(len(jobs), vocab_size, dtype=torch.bool, device=device)
    told, given = [], []
    for i, job in jobs.penalised:
        assert job.history is not None, "kept for whoever has penalties"
        flat = np.array(job.history, dtype=np.int64) + i * vocab_size
        told.append(flat)
        given.append(flat[job.prompt_tokens :])
    if told:
        told_there, given_there = bring(np.concatenate(told), np.concatenate(given))
        anywhere.view(-1).index_fill_(0, told_there, True)
        _count(output, given_there)
    # By what was admitted, not by the handle: a job that was admitted anew has been told all of its
    # tokens.
    row_of = {id(job): i for i, job in jobs.penalised}
    for others, tokens in unread:
        shared = [(row_of[id(job)], i) for i, job in others.penalised if id(job) in row_of]
        if shared:
            rows, places = bring(*np.array(shared, dtype=np.int64).T)
            _count(output, rows * vocab_size + tokens.index_select(0, places))
    return SeenTokens(output, anywhere.logical_or_(output > 0))


def _count(output: Tensor, places: Tensor) -> None:
    output.view(-1).scatter_add_(0, places, torch.ones_like(places, dtype=output.dtype))


class Penalties:
    """The counts of one executor. Any number of iterations may have been sampled and not yet read."""

    def __init__(self, vocab_size: int, bring: Bring) -> None:
        self._vocab_size = vocab_size
        self._bring = bring
        self._unread: deque[Unread] = deque()
        self._kept: tuple[DecodeBatch, int, SeenTokens] | None = None

    def seen(self, plan: IterationPlan, jobs: SampledJobs, version: int) -> SeenTokens | None:
        """What `jobs` have had before this iteration's token; None where none of them has a
        penalty. `version`: the handle table's.
        """
        if not jobs.penalised:
            self._kept = None
            return None
        kept = self._kept
        if kept is not None and kept[0] is plan.decode and kept[1] == version and not plan.prefills:
            return kept[2]
        seen = seen_tokens(jobs, self._unread, self._vocab_size, self._bring)
        self._kept = None if plan.prefills else (plan.decode, version, seen)
        return seen

    def sampled(self, jobs: SampledJobs, seen: SeenTokens, tokens: Tensor) -> None:
        """`jobs` were given `tokens`, int64[n] on the device."""
        seen.add(tokens)
        self._unread.append((jobs, tokens))

    def read(self, jobs: SampledJobs, tokens: Sequence[int], finite: Sequence[bool]) -> None:
        """The host has what the oldest iteration gave to `jobs`; where the numbers were not finite
        there is no token.
        """
        oldest, _ = self._unread.popleft()
        assert oldest is jobs, "iterations are read in the order they were sampled in"
        for i, job in jobs.penalised:
            if job.history is not None and finite[i]:
                job.history.append(tokens[i])
