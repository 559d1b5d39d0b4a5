"""What is measured: the implementations that the product runs on a device.

A test fills a `Subject` with wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....core.plan import Int64s
from ....executor.handles import HandleTable
from ....executor.sampling.sampled_jobs import sampled_jobs
from ....executor.sampling.sampler import Sampler
from ....kernels import staging
from ....kernels.bring import brings_to
from ....kernels.dispatch import REFERENCE, Kernels, kernels_for
from ....kernels.linear import DenseLinear
from .scenario import ModelShape

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


plain_sample = sampling_of(REFERENCE)
