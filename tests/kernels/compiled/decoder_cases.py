"""A whole decoder through the compiled kernels, against the same one through the references:
admitted, chunked, decoded, preempted, moved.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from pathlib import Path

import torch
from shaped_models import attending_as

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels.dispatch import REFERENCE, compiled, kernels_for
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.presets import init_model
from skipjoin.model.weights.loading import load_model

sys.path.append(str(Path(__file__).parents[2] / "executor"))
from plan_driver import Job, PlanDriver

SAMPLING = (
    {"temperature": 0.0},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.8, "top_k": 20, "min_p": 0.01},
    {"temperature": 1.0, "frequency_penalty": 0.7, "repetition_penalty": 1.2},
    {"temperature": 0.0, "presence_penalty": 1.5},
)


def jobs_of(executor, vocabulary, drawn):
    """Five jobs, three at a time, whoever ran leaves for the host while another waits; prompts in
    chunks of seven. With `drawn` each asks for its next token in a way of its own.
    """
    source = random.Random(4)
    lengths = (1, 9, 23, 14, 6)
    asked = SAMPLING if drawn else SAMPLING[:1] * len(lengths)
    jobs = [
        Job(i, [source.randrange(vocabulary) for _ in range(length)], 6, SamplingParams(**how, logprobs=3), 90 + i)
        for i, (length, how) in enumerate(zip(lengths, asked, strict=True))
    ]
    driver = PlanDriver(executor, max_batch=3, chunk=7, rotate=True, swap=True)
    driver.run(jobs)
    executor.close()
    assert driver.moves_done > 5
    return jobs


def same_tokens(device, dtype, window=None, softcap=None, drawn=False):
    """Tokens equal, log-probabilities near, in a model whose layers have that window and cap."""
    with tempfile.TemporaryDirectory() as folder:
        init_model(folder, "tiny", seed=7)
        model = load_model(folder, device, dtype)
    model = attending_as(model, [window] * model.config.layers, softcap)
    assert device == "cpu" or kernels_for(torch.device(device), model.dtype) == compiled(), "the product's own choice"
    wanted, got = (
        jobs_of(
            TorchExecutor(model, PoolShape(40, 40, 5), kernels=kernels, checked=True), model.config.vocab_size, drawn
        )
        for kernels in (REFERENCE, compiled())
    )
    assert len({tuple(job.tokens) for job in wanted}) == len(wanted), "a dull model"
    for job, other in zip(wanted, got, strict=True):
        assert job.tokens == other.tokens, f"job {job.handle}"
        for ours, theirs in zip(job.logprobs, other.logprobs, strict=True):
            assert math.isclose(ours.chosen, theirs.chosen, abs_tol=1e-3), (ours, theirs)
