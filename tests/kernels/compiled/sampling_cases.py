"""The compiled sampler's tokens against those of the executor's plain-torch sampler, which are the
same.
"""

from __future__ import annotations

import math
import random

import numpy as np
import torch
import triton
import triton.language as tl
from nearness import DTYPES

from skipjoin.core.asked import Asked
from skipjoin.core.plan import Admit
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.handles import HandleTable
from skipjoin.executor.sampling.penalties import seen_tokens
from skipjoin.executor.sampling.sampled_jobs import sampled_jobs
from skipjoin.executor.sampling.sampler import Sampler
from skipjoin.kernels import draw
from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.compiled.draw import uniform
from skipjoin.kernels.dispatch import REFERENCE, compiled


def _params(source, vocab, penalised):
    def pick(*options):
        return source.choice(options)

    penalties = {
        "repetition_penalty": pick(1.0, 1.3, 0.7),
        "presence_penalty": pick(0.0, 0.6, -0.5),
        "frequency_penalty": pick(0.0, 0.4),
    }
    return SamplingParams(
        temperature=pick(0.0, 0.5, 1.0, 3.0, 1e-6),
        top_k=pick(0, 0, 1, 2, 5, vocab, vocab + 3),
        top_p=pick(1.0, 0.9, 0.3, 1e-9),
        min_p=pick(0.0, 0.0, 0.05, 1.0),
        **(penalties if penalised else {}),
    )


def tokens(device, dtype, rows, vocab, seed, penalised=False, ties=False, broken=False, steps=1):
    """The executor's sampler with both sets of kernels, `steps` times on logits that are the same;
    gives the number of tokens that were drawn.

    `ties` leaves a handful of values, `broken` puts NaN or infinity into every third row.
    """
    source = random.Random(seed)
    torch.manual_seed(seed)
    table = HandleTable()
    for handle in range(rows):
        history = np.array([source.randrange(vocab) for _ in range(15)], np.int32)
        table.admit(Admit(handle, history, 15, 5, Asked(_params(source, vocab, penalised)), 0), source.randrange(2**63))
    handles = np.arange(rows)
    at = table.rows_of(handles)
    stay, bring = brings_to(torch.device("cpu")), brings_to(torch.device(device))
    ours, plain = Sampler(table, compiled(), bring), Sampler(table, REFERENCE, stay)
    jobs, jobs_there = (sampled_jobs(table, handles, at, *way(at)) for way in (stay, bring))
    seen = seen_tokens(jobs, [], vocab, stay) if penalised else None
    there = seen_tokens(jobs_there, [], vocab, bring) if penalised else None
    drawn = 0
    for _ in range(steps):
        logits = torch.randn(rows, vocab) * 3
        logits = (logits.round() if ties else logits).to(DTYPES[dtype])
        logits[:, source.randrange(vocab)] = -math.inf
        if broken:
            logits[::3, source.randrange(vocab)] = source.choice([math.nan, math.inf])
        positions = table.columns["known"][at]
        want = plain.sample(logits, jobs, positions, *stay(positions), seen)
        got = ours.sample(logits.to(device), jobs_there, positions, *bring(positions), there)
        assert torch.equal(got.finite.cpu(), want.finite)
        assert torch.equal(got.tokens.cpu(), want.tokens), (got, want)
        if seen is not None and there is not None:
            seen.add(want.tokens)
            there.add(got.tokens)
        table.columns["known"][at] += 1
        drawn += int(want.finite.sum())
    return drawn


def tiny_penalty(device):
    """A logit divided by next to nothing is no number any more, greedy or not."""
    table = HandleTable()
    for handle, heat in enumerate((0.0, 1.0, 1.0)):
        params = SamplingParams(temperature=heat, repetition_penalty=1e-320 if handle < 2 else 1.1)
        table.admit(Admit(handle, np.array([1], np.int32), 1, 1, Asked(params), 0), 7)
    handles = np.arange(3)
    at = table.rows_of(handles)
    bring, positions = brings_to(torch.device(device)), table.columns["known"][at]
    jobs = sampled_jobs(table, handles, at, *bring(at))
    logits = torch.tensor([[1.0, 2.0, 3.0, 0.5, 0.1]]).repeat(3, 1)
    seen = seen_tokens(jobs, [], 5, bring)
    got = Sampler(table, compiled(), bring).sample(logits.to(device), jobs, positions, *bring(positions), seen)
    assert got.finite.tolist() == [False, False, True] and got.tokens[:2].tolist() == [0, 0]


# COUNT: as kernels name what is known when they are compiled.
@triton.jit
def _uniforms(seeds, positions, out, COUNT: tl.constexpr):  # noqa: N803
    lane = tl.arange(0, COUNT)
    tl.store(out + lane, uniform(tl.load(seeds + lane), tl.load(positions + lane)))


def random_numbers(device, seed, count=1024):
    """The generator inside kernels gives the bits of the one outside."""
    torch.manual_seed(seed)
    seeds, positions = torch.randint(0, 2**63 - 1, (count,)), torch.randint(0, 2**40, (count,))
    seeds[:2], positions[:2] = torch.tensor([0, 2**63 - 1]), torch.tensor([0, 2**62])
    out = torch.empty(count, dtype=torch.float64, device=device)
    _uniforms[(1,)](seeds.to(device), positions.to(device), out, COUNT=count, enable_fp_fusion=True)
    assert torch.equal(out.cpu(), draw.uniform(seeds, positions))
    assert bool(((out > 0) & (out < 1)).all())
