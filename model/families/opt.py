"""OPT."""

from __future__ import annotations

from ..architectures import GELU, GELU_TANH, SILU, Architecture, Either, Layer, Norm, TensorNames
from .spellings import OTHERS

OPT = Architecture(
    "OPTForCausalLM",
    TensorNames(
        embedding="model.decoder.embed_tokens",
        positions="model.decoder.embed_positions",
        embedding_in="model.decoder.project_in",
        embedding_out="model.decoder.project_out",
        final_norm="model.decoder.final_layer_norm",
        attention_norm="model.decoder.layers.{i}.self_attn_layer_norm",
        query="model.decoder.layers.{i}.self_attn.q_proj",
        key="model.decoder.layers.{i}.self_attn.k_proj",
        value="model.decoder.layers.{i}.self_attn.v_proj",
        attention_out="model.decoder.layers.{i}.self_attn.out_proj",
        mlp_norm="model.decoder.layers.{i}.final_layer_norm",
        gate=None,
        up="model.decoder.layers.{i}.fc1",
        down="model.decoder.layers.{i}.fc2",
    ),
    model_type="opt",
    foreign=(*OTHERS, "num_key_value_heads", "head_dim", "rms_norm_eps"),
    spelled={
        "intermediate_size": "ffn_dim",
        "hidden_act": "activation_function",
        "embedding_width": "word_embed_proj_dim",
    },
    defaults={
        "ffn_dim": 3072,
        "rms_norm_eps": 1e-5,  # no field says it, and layer norms are made with it
        "activation_function": "relu",
        "enable_bias": True,
        "do_layer_norm_before": True,
        "tie_word_embeddings": True,
    },
    end_token=2,
    required={"_remove_final_layer_norm": False, "layer_norm_elementwise_affine": True},
    prefixes=(("model.", "model."), ("lm_head", "lm_head"), ("decoder.", "model.decoder.")),
    layer=Either("do_layer_norm_before", Layer.PRE_NORM, Layer.POST_NORM),
    norm=Norm.LAYER,
    qkv_bias="enable_bias",
    out_bias="enable_bias",
    mlp_bias="enable_bias",
    activations={**GELU_TANH, **SILU, **GELU, "relu": "relu"},
    position_offset=2,
    tiny={"activation_function": "relu"},
)
