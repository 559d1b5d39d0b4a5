"""Whether a loaded model's start leaves its decoder anything to compile."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ahead_cases import watching

from skipjoin.core.asked import Asked
from skipjoin.core.plan import Admit
from skipjoin.core.sampling import SamplingParams
from skipjoin.executor.handles import HandleTable
from skipjoin.executor.kernel_forms import compile_forms
from skipjoin.executor.sampling.penalties import seen_tokens
from skipjoin.executor.sampling.sampled_jobs import sampled_jobs
from skipjoin.executor.sampling.sampler import Sampler
from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.dispatch import compiled
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch
from skipjoin.model.decoder import Decoder, ForwardBatch
from skipjoin.model.weights.loading import load_model

sys.path.append(str(Path(__file__).parents[2] / "model"))
from transformers_models import make

PAGE_TOKENS = 16


def _sample(logits, kernels):
    """Tokens for a batch of jobs of which one has a penalty, and for the same without it."""
    table, handles = HandleTable(), np.arange(len(logits))
    for handle in handles.tolist():
        params = SamplingParams(temperature=0.8, top_p=0.9, presence_penalty=0.5 * (handle == 0))
        table.admit(Admit(handle, np.array([1, 2], np.int32), 2, 1, Asked(params), 0), 7)
    rows = table.rows_of(handles)
    bring, positions = brings_to(logits.device), table.columns["known"][rows]
    rows_there, there = bring(rows, positions)
    jobs = sampled_jobs(table, handles, rows, rows_there)
    for counts in (seen_tokens(jobs, [], logits.shape[1], bring), None):
        Sampler(table, kernels, bring).sample(logits, jobs, positions, there, counts)


def not_ready(family, dtype, seed, start=True):
    """Forms that passes of any size, and the sampling behind them, launch and the start did not
    make. `start` false: nothing was made.
    """
    with tempfile.TemporaryDirectory() as folder:
        make(family).save_pretrained(folder)
        model = load_model(folder, "cpu", dtype)
    with watching() as ready:
        if start:
            compile_forms(model, PAGE_TOKENS)
    config, random = model.config, np.random.default_rng(seed)
    kv = PagedKv(
        torch.zeros(
            KvLayout(config.layers, config.kv_heads, PAGE_TOKENS, config.head_dim).pool_shape(9), dtype=model.dtype
        ),
        KvLayout(config.layers, config.kv_heads, PAGE_TOKENS, config.head_dim),
    )
    kernels = compiled()
    decoder = Decoder(model, kv, kernels, recorded=True)
    with watching() as forms:
        for _ in range(8):
            counts = random.integers(1, [2, 60][int(random.integers(2))], size=int(random.integers(1, 30)))
            contexts = counts + random.integers(0, 120, size=len(counts))
            tables = torch.zeros(len(counts), int(contexts.max()) // PAGE_TOKENS + 1, dtype=torch.int64)
            rows = RaggedBatch(tables, np.concatenate([[0], np.cumsum(counts)]), contexts)
            whole = torch.zeros(rows.rows, dtype=torch.int64)
            ends = torch.from_numpy(rows.starts[1:] - 1)
            logits = decoder.forward(ForwardBatch(whole, whole, 1, kernels.prepare(kv, rows, whole), ends))
            _sample(logits, kernels)
    return sorted(forms - ready)
