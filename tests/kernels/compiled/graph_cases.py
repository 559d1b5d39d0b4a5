"""Decodes that are replayed, against the same ones launched: logits and pages bit for bit, over
jobs that come, grow, leave, move and go.
"""

from __future__ import annotations

import dataclasses
import random
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from recorder import NotRecordable, Recorder
from shaped_models import attending_as

from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels import linear
from skipjoin.kernels.compiled import tuning
from skipjoin.kernels.compiled.iteration import CompiledBatch
from skipjoin.kernels.compiled.size_file import AttentionSizes
from skipjoin.kernels.compiled.standing import CompiledStanding
from skipjoin.kernels.dispatch import REFERENCE, compiled
from skipjoin.kernels.linear import can_pack
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.presets import init_model
from skipjoin.model.weights.loading import load_model

sys.path.append(str(Path(__file__).parents[2] / "executor"))
from plan_driver import Job, PlanDriver

SPLIT = 24  # tokens: contexts of a few pages are cut already
ROWS = 4


@contextmanager
def short_cuts():
    """Attention sizes that cut contexts early, for this machine."""
    key = tuning.size_key(torch.float32, 16, False)
    tuning._own["cpu"] = {key: AttentionSizes(16, 16, SPLIT, 4096, 4, 1)}
    try:
        yield
    finally:
        del tuning._own["cpu"]


@cache
def tiny(window=None, softcap=None):
    """The tiny model; with a window every second layer has it. Its products are torch's: the
    recorder does not see those of ours.
    """
    form = "onednn" if can_pack(torch.float32) else "plain"
    with tempfile.TemporaryDirectory() as folder:
        init_model(folder, "tiny", seed=7)
        with patch.object(linear, "form_for", lambda device, dtype: form):
            model = load_model(folder, "cpu", "float32")
    return attending_as(model, [window if i % 2 else None for i in range(model.config.layers)], softcap)


def jobs_of():
    """Five jobs that end one after the other; the longest last, alone."""
    source = random.Random(5)
    drawn = SamplingParams(temperature=0.8, logprobs=2)
    penalised = SamplingParams(temperature=0.0, frequency_penalty=1.0)
    prompts = [[source.randrange(512) for _ in range(length)] for length in (1, 19, 9, 3, 23)]
    return [Job(i, prompt, 3 + 2 * i, penalised if i == 2 else drawn, seed=i) for i, prompt in enumerate(prompts)]


def alike(got, wanted):
    """Bit for bit where up to four rows go through the same packed product; elsewhere a product may
    round by the number of its rows.
    """
    return torch.equal(got, wanted) if can_pack(torch.float32) else torch.allclose(got, wanted, rtol=0, atol=1e-5)


class Run:
    """An executor that ran the jobs in a manner: their tokens, the logits of every pass, and the
    pool it left.
    """

    def __init__(self, model, manner, count, against=None, **options):
        executor = TorchExecutor(model, PoolShape(24, 24, 5), checked=True, **options)
        driver = PlanDriver(executor, **manner)
        self.graphs, self.logits, forward = executor.graphs, [], executor._forward

        def told(batch):
            logits = forward(batch)
            self.logits.append(logits.clone())
            assert against is None or alike(logits, against.logits[len(self.logits) - 1]), f"pass {len(self.logits)}"
            return logits

        executor._forward = told
        self.tokens = driver.run(jobs_of()[:count])
        self.pool = executor.pools.device.clone()
        executor.close()


MANNERS = {
    "together": ({"max_batch": 5, "chunk": 14}, {"window": 20, "softcap": 2.0}, 5),
    "preempted": ({"max_batch": 3, "rotate": True, "swap": True}, {}, 4),
}


@cache
def launched(manner):
    options, attention, count = MANNERS[manner]
    with short_cuts():
        return Run(tiny(**attention), options, count, kernels=dataclasses.replace(compiled(), sample=REFERENCE.sample))


def replayed(manner, capture, standing=CompiledStanding):
    """Replays of all decodes of up to ROWS jobs; fails at the first logit that is another one than
    in a launched pass.
    """
    options, attention, count = MANNERS[manner]
    kernels = dataclasses.replace(compiled(), sample=REFERENCE.sample, standing=standing)
    against = launched(manner)
    with short_cuts():
        run = Run(tiny(**attention), options, count, against, kernels=kernels, graph_rows=ROWS, capture=capture)
    assert run.tokens == against.tokens
    assert alike(run.pool, against.pool), "a row that means nothing wrote into a page"
    return run


def same_numbers(device, manner, refused=()):
    """How many passes there were, and how often each recording was replayed."""
    recorder = Recorder(refused)
    run = replayed(manner, recorder)
    used = [tape.replays for tape in recorder.recordings]
    assert sum(used) == run.graphs.replayed
    return {"passes": len(run.logits), "used": used}


class StaleTables(CompiledStanding):
    """Tables stay those of the first iteration."""

    def fill(self, batch, rows):
        before = self._tables.clone()
        level = super().fill(batch, rows)
        if before.any():
            self._tables.copy_(before)
        return level


class WritingRows(CompiledStanding):
    """Rows that mean nothing write where the token before that of the first row is."""

    def fill(self, batch, rows):
        level = super().fill(batch, rows)
        self._slots[len(batch.slots) : rows] = (self._slots[:1] - 1).clamp(0)
        return level


class FrozenCuts(CompiledStanding):
    """Tiles are cut from contexts of the time of the recording."""

    def view(self, rows, level):
        batch = super().view(rows, level)
        return CompiledBatch(batch.ragged, batch.slots)


FAULTS = {kind.__name__: kind for kind in (StaleTables, WritingRows, FrozenCuts)}


def fault_is_seen(device, fault):
    """Works that run again instead of a recording: quick, and enough to carry these faults."""
    try:
        replayed("together", lambda work: work, FAULTS[fault])
    except AssertionError:
        return
    raise RuntimeError(f"nobody saw {fault}")


def recorder_is_honest(device):
    """What a device's graph would not do, the recorder does not either."""
    x, out, factor, kept = torch.arange(3.0), torch.zeros(3), [2], []

    def work():
        kept[:] = [x * factor[0]]
        out.copy_(kept[0].reshape(3, 1).add_(1)[:, 0])

    replay = Recorder()(work)
    factor[0] = 5
    x.add_(1)
    replay()
    assert out.tolist() == [3, 5, 7], "new numbers of the tensor, the old one of the host"
    assert kept[0].isnan().all(), "an intermediate result that somebody may have overwritten"
    for unfit in (
        lambda: out.fill_(x.sum().item()),
        lambda: out.copy_(x[x > 0].sum()),
        lambda: out.copy_(torch.from_numpy(np.ones(3, np.float32))),
    ):
        try:
            Recorder()(unfit)
        except NotRecordable:
            continue
        raise AssertionError("recorded what cannot be")
