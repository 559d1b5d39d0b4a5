"""GPT-2."""

from __future__ import annotations

from ..architectures import GELU, GELU_TANH, SILU, Architecture, Norm, TensorNames
from .spellings import OTHERS

GPT2 = Architecture(
    "GPT2LMHeadModel",
    TensorNames(
        embedding="transformer.wte",
        positions="transformer.wpe",
        final_norm="transformer.ln_f",
        attention_norm="transformer.h.{i}.ln_1",
        qkv="transformer.h.{i}.attn.c_attn",
        query=None,
        key=None,
        value=None,
        attention_out="transformer.h.{i}.attn.c_proj",
        mlp_norm="transformer.h.{i}.ln_2",
        gate=None,
        up="transformer.h.{i}.mlp.c_fc",
        down="transformer.h.{i}.mlp.c_proj",
    ),
    model_type="gpt2",
    aliases={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
    },
    foreign=(*OTHERS, "num_key_value_heads", "head_dim"),
    spelled={
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
        "hidden_act": "activation_function",
        "norm_eps": "layer_norm_epsilon",
    },
    defaults={
        "n_positions": 1024,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    },
    end_token=50256,
    required={"add_cross_attention": False},
    prefixes=(("transformer.", "transformer."), ("lm_head", "lm_head"), ("", "transformer.")),
    ignored=(".attn.bias", ".attn.masked_bias"),
    transposed=True,
    norm=Norm.LAYER,
    qkv_bias=True,
    out_bias=True,
    mlp_bias=True,
    activations={**GELU_TANH, **SILU, **GELU, "relu": "relu"},
    layer_scale=True,
    tiny={"activation_function": "gelu_new"},
)
