"""Gemma."""

from __future__ import annotations

from ..architectures import GELU_TANH, SILU, Architecture, Norm
from .spellings import WITHOUT_HEAD

GEMMA = Architecture(
    "GemmaForCausalLM",
    model_type="gemma",
    defaults={
        "num_key_value_heads": 16,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "hidden_act": "gelu_pytorch_tanh",
    },
    end_token=1,
    prefixes=WITHOUT_HEAD,
    required={"use_bidirectional_attention": False},
    norm=Norm.RMS_OFFSET,
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    activations={**GELU_TANH, **SILU, "gelu": "gelu_tanh"},  # the first releases say gelu and mean the tanh form
    embedding_scaled=True,
    tiny={"hidden_act": "gelu_pytorch_tanh"},
)
