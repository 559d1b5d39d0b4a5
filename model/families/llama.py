"""Llama."""

from __future__ import annotations

from ..architectures import GELU_TANH, SILU, Architecture
from .spellings import WITHOUT_HEAD

LLAMA = Architecture(
    "LlamaForCausalLM",
    model_type="llama",
    end_token=2,
    prefixes=WITHOUT_HEAD,
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    mlp_bias="mlp_bias",
    activations={**SILU, **GELU_TANH},
)
