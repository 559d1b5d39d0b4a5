"""OLMo 2."""

from __future__ import annotations

from ..architectures import GELU_TANH, SILU, Architecture, Layer, TensorNames, shipped
from .qwen3 import HEAD_NORMS
from .spellings import WITHOUT_HEAD

OLMO2 = Architecture(
    "Olmo2ForCausalLM",
    TensorNames(
        attention_norm=None,
        after_attention_norm="model.layers.{i}.post_attention_layernorm",
        mlp_norm=None,
        after_mlp_norm="model.layers.{i}.post_feedforward_layernorm",
        query_norm=HEAD_NORMS.query_norm,
        key_norm=HEAD_NORMS.key_norm,
    ),
    model_type="olmo2",
    defaults={"rms_norm_eps": 1e-5},
    end_token=50279,
    prefixes=WITHOUT_HEAD,
    layer=Layer.SANDWICH,
    norm=shipped("norm", "WideRmsNorm"),
    query_key_norm=shipped("attention", "AllHeads"),
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    activations={**SILU, **GELU_TANH},
    tiny={},
)
