"""Phi 3."""

from __future__ import annotations

from ..architectures import GELU_TANH, SILU, Architecture, TensorNames, Windows
from .spellings import WITHOUT_HEAD

PHI3 = Architecture(
    "Phi3ForCausalLM",
    TensorNames(
        qkv="model.layers.{i}.self_attn.qkv_proj",
        query=None,
        key=None,
        value=None,
        gate_up="model.layers.{i}.mlp.gate_up_proj",
        gate=None,
        up=None,
    ),
    model_type="phi3",
    defaults={
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "sliding_window": None,
    },
    end_token=32000,
    prefixes=WITHOUT_HEAD,
    activations={**SILU, **GELU_TANH},
    windows=Windows.ALL,
    partial_rotary=True,
    tiny={"sliding_window": 64, "pad_token_id": 0},
    long_rope_names=("longrope", "su", "yarn"),  # all three have been written for the same thing
)
