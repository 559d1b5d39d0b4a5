"""Mistral."""

from __future__ import annotations

from ..architectures import GELU_TANH, SILU, Architecture, Windows
from .spellings import WITHOUT_HEAD

MISTRAL = Architecture(
    "MistralForCausalLM",
    model_type="mistral",
    defaults={"sliding_window": 4096, "num_key_value_heads": 8, "max_position_embeddings": 131072},
    end_token=2,
    prefixes=WITHOUT_HEAD,
    activations={**SILU, **GELU_TANH},
    windows=Windows.ALL,
    tiny={"sliding_window": 64},
)
