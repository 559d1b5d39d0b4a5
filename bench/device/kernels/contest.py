"""A contest: one kernel on one shape, and everything that can compute it.

Owns the implementations that the product runs on a device (a test takes wrong ones), the float64
truth that all are held against, and the bound by dtype. It times nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ....core.plan import Int64s
from ....executor.handles import HandleTable
from ....executor.sampling.sampled_jobs import sampled_jobs
from ....executor.sampling.sampler import Sampler
from ....kernels import dispatch, staging
from ....kernels.bring import brings_to
from ....kernels.dispatch import Kernels, kernels_for
from ....kernels.layout import KvLayout
from ....kernels.linear import DenseLinear
from ..command import BOUNDS
from ..race import Contestant, Work
from .scenario import Case, ModelShape

Copy = Callable[[Tensor, Tensor, Tensor], None]
Sample = Callable[[Tensor, HandleTable, Int64s], Tensor]
MakeLinear = Callable[[Tensor], Callable[[Tensor], Tensor]]


@dataclass(frozen=True, slots=True)
class Subject:
    """The product's own code.

    `kernels`: as the runner gets them. `gather`, `scatter`: (pool, pages, staging), as
    `kernels.staging`. `sample`: (logits, table, rows) gives int64[n] tokens. `linear`: lays a
    weight out and gives the product with it.
    """

    kernels: Kernels
    gather: Copy
    scatter: Copy
    sample: Sample
    linear: MakeLinear


def product_on(device: torch.device, dtype: torch.dtype, model: ModelShape) -> Subject:
    """What runs there today for a model of that shape, on which it may depend."""
    gather, scatter = staging.gather_pages, staging.scatter_pages
    if device.type == "cuda":
        from ....kernels.compiled.staging import gather_pages as gather
        from ....kernels.compiled.staging import scatter_pages as scatter
    kernels = kernels_for(device, dtype)
    return Subject(kernels, gather, scatter, sampling_of(kernels), DenseLinear)


def sampling_of(kernels: Kernels) -> Sample:
    """The executor's sampler on those kernels, jobs without penalties, columns brought to the
    device each time.
    """

    def sample(logits: Tensor, table: HandleTable, rows: Int64s) -> Tensor:
        bring, positions = brings_to(logits.device), np.asarray(table.columns["known"][rows])
        rows_there, positions_there = bring(rows, positions)
        jobs = sampled_jobs(table, rows, rows, rows_there)  # the handles are not asked for
        return Sampler(table, kernels, bring).sample(logits, jobs, positions, positions_there, None).tokens

    return sample


plain_sample = sampling_of(dispatch.REFERENCE)


OURS, REFERENCE = "skipjoin", "reference"
OWN = (OURS, REFERENCE)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where contests are made: the shape of the model, the product's kernels, device and precision."""

    model: ModelShape
    subject: Subject
    device: torch.device
    dtype: torch.dtype

    def randn(self, *shape: int) -> Tensor:
        """Numbers on the device."""
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def layout(self, layers: int) -> KvLayout:
        """Of pages of the model."""
        return KvLayout(layers, self.model.kv_heads, self.model.page_tokens, self.model.head_dim)


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contest:
    """One line of the table for each contestant.

    `truth`: in float64. `bound`: the largest error; 0 means that not one element may differ.
    `absent`: who cannot take part, and why. `close`: ends what it began.
    """

    name: str
    kernel: str
    contestants: tuple[Contestant, ...]
    truth: Callable[[], Tensor]
    bound: float
    work: Work
    absent: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] = _nothing

    def error(self, got: Tensor, truth: Tensor) -> float:
        """Largest difference over the truth's largest number; with `bound` 0 the share of elements
        that differ.

        Infinite for NaN and for another shape.
        """
        got = got.to(truth.device)
        if got.shape != truth.shape:
            return math.inf
        if self.bound == 0:
            return float((got != truth).double().mean())
        apart = float((got.double() - truth).abs().max())
        return math.inf if math.isnan(apart) else apart / max(float(truth.abs().max()), 1e-300)


def contest_of(
    ground: Ground, case: Case, contestants: list[Contestant], truth: Callable[[], Tensor], work: Work
) -> Contest:
    """A contest within the bound of the precision."""
    return Contest(case.name, case.kernel, tuple(contestants), truth, BOUNDS[ground.dtype], work)


def exact_contest(case: Case, contestants: list[Contestant], truth: Callable[[], Tensor], work: Work) -> Contest:
    """A contest in which nothing may differ."""
    return Contest(case.name, case.kernel, tuple(contestants), truth, 0.0, work)
