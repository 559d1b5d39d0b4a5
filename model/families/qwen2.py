"""Qwen 2."""

from __future__ import annotations

from ..architectures import GELU_TANH, SILU, Architecture, Windows
from .spellings import WITHOUT_HEAD

QWEN2 = Architecture(
    "Qwen2ForCausalLM",
    model_type="qwen2",
    defaults={
        "num_key_value_heads": 32,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "max_position_embeddings": 32768,
    },
    prefixes=WITHOUT_HEAD,
    qkv_bias=True,
    activations={**SILU, **GELU_TANH},
    windows=Windows.LATE,
    tiny={},
)
