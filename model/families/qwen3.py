"""Qwen 3."""

from __future__ import annotations

from dataclasses import replace

from ..architectures import QueryKeyNorm, TensorNames
from .qwen2 import QWEN2

HEAD_NORMS = TensorNames(
    query_norm="model.layers.{i}.self_attn.q_norm",
    key_norm="model.layers.{i}.self_attn.k_norm",
)

QWEN3 = replace(
    QWEN2,
    name="Qwen3ForCausalLM",
    model_type="qwen3",
    tensors=HEAD_NORMS,
    defaults={**QWEN2.defaults, "head_dim": 128},
    query_key_norm=QueryKeyNorm.EACH_HEAD,
    qkv_bias="attention_bias",
    out_bias="attention_bias",
)
