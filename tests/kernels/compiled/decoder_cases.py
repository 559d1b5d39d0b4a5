"""A whole decoder through the compiled kernels, against the same one through the references: admitted, chunked, decoded, preempted, moved."""

from __future__ import annotations

import dataclasses
import math
import random
import sys
import tempfile
from pathlib import Path

import torch

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.loading import load_model
from skipjoin.executor.presets import init_model
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels.dispatch import REFERENCE, compiled, kernels_for
from skipjoin.kvstore.device.pool import PoolShape

sys.path.append(str(Path(__file__).parents[2] / "executor"))
from plan_driver import Job, PlanDriver


def jobs_of(executor, vocabulary):
    """Five jobs, three at a time, whoever ran leaves for the host while another waits; prompts in chunks of seven."""
    source = random.Random(4)
    params = SamplingParams(temperature=0.0, logprobs=3)
    lengths = (1, 9, 23, 14, 6)
    jobs = [
        Job(i, [source.randrange(vocabulary) for _ in range(length)], 6, params) for i, length in enumerate(lengths)
    ]
    driver = PlanDriver(executor, max_batch=3, chunk=7, rotate=True, swap=True)
    driver.run(jobs)
    executor.close()
    assert driver.moves_done > 5
    return jobs


def same_tokens(device, dtype, window=None, softcap=None):
    """Tokens equal, log-probabilities near, in a model whose layers have that window and cap."""
    with tempfile.TemporaryDirectory() as folder:
        init_model(folder, "tiny", seed=7)
        model = load_model(folder, device, dtype)
    layers = tuple(dataclasses.replace(layer, window=window) for layer in model.config.attention)
    config = dataclasses.replace(model.config, attention=layers, attention_softcap=softcap)
    model = dataclasses.replace(model, config=config)
    assert device == "cpu" or kernels_for(torch.device(device), model.dtype) == compiled(), "the product's own choice"
    wanted, got = (
        jobs_of(TorchExecutor(model, PoolShape(40, 40, 5), kernels=kernels, checked=True), config.vocab_size)
        for kernels in (REFERENCE, compiled())
    )
    assert len({tuple(job.tokens) for job in wanted}) == len(wanted), "a dull model"
    for job, other in zip(wanted, got, strict=True):
        assert job.tokens == other.tokens, f"job {job.handle}"
        for ours, theirs in zip(job.logprobs, other.logprobs, strict=True):
            assert math.isclose(ours.chosen, theirs.chosen, abs_tol=1e-3), (ours, theirs)
