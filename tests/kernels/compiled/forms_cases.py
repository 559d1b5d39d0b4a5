"""Whether a loaded model's start leaves its decoder anything to compile."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ahead_cases import watching

from skipjoin.executor.decoder import Decoder, ForwardBatch
from skipjoin.executor.kernel_forms import compile_forms
from skipjoin.executor.loading import load_model
from skipjoin.kernels.dispatch import compiled
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch

sys.path.append(str(Path(__file__).parents[2] / "executor"))
from transformers_models import make

PAGE_TOKENS = 16


def not_ready(family, dtype, seed, start=True):
    """Forms that passes of any size launch and the start did not: [] when it makes all. `start` false: nothing was made."""
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
    decoder = Decoder(model, kv, kernels)
    with watching() as forms:
        for _ in range(8):
            counts = random.integers(1, [2, 60][int(random.integers(2))], size=int(random.integers(1, 30)))
            contexts = counts + random.integers(0, 120, size=len(counts))
            tables = torch.zeros(len(counts), int(contexts.max()) // PAGE_TOKENS + 1, dtype=torch.int64)
            rows = RaggedBatch(tables, np.concatenate([[0], np.cumsum(counts)]), contexts)
            whole = torch.zeros(rows.rows, dtype=torch.int64)
            decoder.forward(ForwardBatch(whole, whole, kernels.prepare(kv, rows, whole), torch.tensor([rows.rows - 1])))
    return sorted(forms - ready)
