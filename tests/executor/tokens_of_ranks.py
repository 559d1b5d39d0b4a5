"""Jobs that ranks and one rank alone run alike, and what is compared of them.

Owns the jobs' ways of sampling and the pools. test files under ranks/ choose the ranks, and how jobs
are run.
"""

from __future__ import annotations

import random

import pytest
from plan_driver import Job, PlanDriver
from transformers_models import VOCABULARY

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.weights.loading import load_model

SHAPE = PoolShape(60, 90, page_tokens=5)
WAYS = [
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.9, top_p=0.9, logprobs=2),
    SamplingParams(temperature=0.7, repetition_penalty=1.2),
]


def jobs(count, wanted, vocabulary=VOCABULARY):
    source = random.Random(5)
    prompts = [[source.randrange(3, vocabulary) for _ in range(source.randrange(1, 40))] for _ in range(count)]
    return [Job(i, prompt, wanted, WAYS[i % len(WAYS)], seed=7 + i) for i, prompt in enumerate(prompts)]


def run(executor, count, wanted, **manner):
    todo = jobs(count, wanted)
    # What is computed again must not be cut up: a job that leaves in between would never end.
    chunk = 10**9 if manner.get("recompute") else 17
    tokens = PlanDriver(executor, max_batch=3, chunk=chunk, shuffle_seed=2, **manner).run(todo)
    executor.close()
    return tokens, [job.logprobs for job in todo]


def one_rank(folder, count, wanted, **manner):
    return run(TorchExecutor(load_model(folder, "cpu", "float64"), SHAPE), count, wanted, **manner)


def close(some, others):
    """Log-probabilities to rounding: sums over ranks are added in another order."""
    for job, other in zip(some, others, strict=True):
        for one, two in zip(job, other, strict=True):
            assert (one is None) == (two is None)
            assert one is None or one.chosen == pytest.approx(two.chosen, abs=1e-9)
