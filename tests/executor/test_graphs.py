"""Which decodes are recorded, and that an executor without a way to replay does without."""

from __future__ import annotations

import pytest
import torch
from plan_driver import Job, PlanDriver

from skipjoin.executor.graphs import row_counts
from skipjoin.executor.runner import TorchExecutor
from skipjoin.executor.sampling.host_copy import host_copy
from skipjoin.executor.sampling.sampler import SampledTokens
from skipjoin.kvstore.device.pool import PoolShape


@pytest.mark.parametrize(
    ("most", "counts"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (48, [1, 2, 4, 8, 16, 32, 48]),
        (64, [1, 2, 4, 8, 16, 32, 64]),
        (65, [1, 2, 4, 8, 16, 32, 64, 65]),
        (256, [1, 2, 4, 8, 16, 32, 64, 128, 192, 256]),
    ],
)
def test_sizes(most, counts):
    assert row_counts(most) == counts


@pytest.mark.parametrize("capture", [None, lambda work: work])
def test_kernels_that_cannot_be_replayed_are_launched(tiny64, capture):
    """A CPU has nothing to record with, and its kernels would not do with recordings if it had."""
    plain = PlanDriver(TorchExecutor(tiny64, PoolShape(20, 0))).run([Job(1, [5, 6, 7], 6)])
    executor = TorchExecutor(tiny64, PoolShape(20, 0), graph_rows=8, capture=capture)
    assert PlanDriver(executor).run([Job(1, [5, 6, 7], 6)]) == plain
    assert executor.graphs is None
    executor.close()


def test_what_was_sampled_on_a_cpu_is_not_copied():
    tokens = torch.tensor([1])
    sampled = SampledTokens(tokens, torch.tensor([True]), tokens.numpy())
    assert host_copy(sampled) is sampled
