"""Gemma 2."""

from __future__ import annotations

from dataclasses import replace

from ..architectures import GELU_TANH, SILU, Layer, TensorNames, Windows
from .gemma import GEMMA

FOUR_NORMS = TensorNames(
    after_attention_norm="model.layers.{i}.post_attention_layernorm",
    mlp_norm="model.layers.{i}.pre_feedforward_layernorm",
    after_mlp_norm="model.layers.{i}.post_feedforward_layernorm",
)

GEMMA2 = replace(
    GEMMA,
    name="Gemma2ForCausalLM",
    model_type="gemma2",
    tensors=FOUR_NORMS,
    foreign=("sliding_window_pattern",),
    spelled={"hidden_act": "hidden_activation"},
    defaults={
        "head_dim": 256,
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 2,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    activations={**GELU_TANH, **SILU},
    layer=Layer.SANDWICH,
    windows=Windows.PATTERN,
    attention_softcap=True,
    tiny={"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 64},
)
