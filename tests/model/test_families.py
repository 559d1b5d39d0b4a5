"""Every model family is Transformers' own: the same greedy tokens in float64, the same logits to
rounding in float32.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from plan_driver import Job, PlanDriver
from transformers import AutoModelForCausalLM
from transformers_models import FAMILIES, VOCABULARY, exact, make

from skipjoin.executor.runner import TorchExecutor
from skipjoin.kernels.dispatch import kernels_for
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch
from skipjoin.kvstore.device.pool import PoolShape
from skipjoin.model.decoder import Decoder, ForwardBatch
from skipjoin.model.weights.loading import load_model

NEW_TOKENS = 64


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(folder, Transformers' model in float64) of each family."""
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    model = make(request.param)
    model.save_pretrained(folder)
    return folder, exact(model)


@torch.inference_mode()
def reference_logits(reference, tokens):
    return reference(input_ids=torch.tensor([tokens])).logits[0]


def test_greedy_tokens(family):
    """Chunked prefill and decode in one batch, odd pages, contexts beyond every window; each token
    is the reference's choice.
    """
    folder, reference = family
    source = random.Random(3)
    prompts = [[source.randrange(3, VOCABULARY) for _ in range(length)] for length in (1, 9, 30, 47, 60, 71)]
    jobs = [Job(i, prompt, NEW_TOKENS) for i, prompt in enumerate(prompts)]
    executor = TorchExecutor(load_model(folder, "cpu", "float64"), PoolShape(140, 0, page_tokens=5))
    PlanDriver(executor, max_batch=4, chunk=13, shuffle_seed=1).run(jobs)
    executor.close()
    for job in jobs:
        known = job.prompt + job.tokens
        assert len(job.tokens) == NEW_TOKENS
        best = reference_logits(reference, known[:-1])[len(job.prompt) - 1 :].argmax(-1)
        assert best.tolist() == job.tokens, f"job {job.handle}"
    outputs = {tuple(job.tokens) for job in jobs}
    assert len(outputs) == len(jobs) and len({token for job in jobs for token in job.tokens}) > 12, "a dull model"


@torch.inference_mode()
def our_logits(folder, dtype, tokens):
    """All rows' logits: a first chunk, a second one over its pages, the last token as a decode;
    shuffled pages.
    """
    model = load_model(folder, "cpu", dtype)
    config, page_tokens = model.config, 4
    layout = KvLayout(config.layers, config.kv_heads, page_tokens, config.head_dim)
    count = -(-len(tokens) // page_tokens)
    pages = np.random.default_rng(0).permutation(count + 3)[:count]
    kv = PagedKv(torch.zeros(layout.pool_shape(count + 3), dtype=model.dtype), layout)
    kernels = kernels_for(model.device, model.dtype)
    decoder = Decoder(model, kv, kernels, recorded=False)
    logits, start = [], 0
    for end in (len(tokens) // 3, len(tokens) - 1, len(tokens)):
        positions = np.arange(start, end)
        ragged = RaggedBatch(
            torch.from_numpy(pages[None, : -(-end // page_tokens)]), np.array([0, end - start]), np.array([end])
        )
        slots = torch.from_numpy(pages[positions // page_tokens] * page_tokens + positions % page_tokens)
        batch = ForwardBatch(
            torch.tensor(tokens[start:end]), torch.from_numpy(positions), end, kernels.prepare(kv, ragged, slots), None
        )
        logits.append(decoder.forward(batch))
        start = end
    return torch.cat(logits)


@pytest.fixture(scope="module")
def sentence():
    """Longer than every window."""
    source = random.Random(4)
    return [source.randrange(3, VOCABULARY) for _ in range(90)]


def test_logits_in_float64(family, sentence):
    folder, reference = family
    assert distance(our_logits(folder, "float64", sentence), reference_logits(reference, sentence)) <= 1e-10


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_to_rounding(family, sentence, dtype):
    """No further from float64 than Transformers itself is in that precision, but for the luck of
    roundings.
    """
    folder, reference = family
    wanted = reference_logits(reference, sentence)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="eager")
    allowed = 2 * distance(reference_logits(theirs, sentence), wanted)
    assert distance(our_logits(folder, dtype, sentence), wanted) <= allowed <= {"float32": 1e-4, "bfloat16": 0.5}[dtype]


def distance(logits, wanted):
    """Largest error, relative to the largest logit."""
    return float((logits.double() - wanted).abs().max() / wanted.abs().max())
