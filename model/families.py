"""The model families that can be loaded, one row each.

Owns the rows and nothing else: a family whose decoder has parts that are there already is one more row, a new part is one more flag in
architectures.py. It does not know how a row is read or run. registry.py lists the rows; docs/models.md is the same table for people.
"""

from __future__ import annotations

from dataclasses import replace

from .architectures import GELU, GELU_TANH, SILU, Architecture, Norm, TensorNames, Windows

_OTHERS = ("query_pre_attn_scalar", "final_logit_softcapping", "sliding_window_pattern")

_WITHOUT_HEAD = (("model.", "model."), ("lm_head", "lm_head"), ("", "model."))
"""Files of a decoder that was saved without its head name tensors without the first part of the name."""

_LLAMA = Architecture(
    "LlamaForCausalLM",
    model_type="llama",
    end_token=2,
    prefixes=_WITHOUT_HEAD,
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    mlp_bias="mlp_bias",
    activations={**SILU, **GELU_TANH},
)

_MISTRAL = Architecture(
    "MistralForCausalLM",
    model_type="mistral",
    defaults={"sliding_window": 4096, "num_key_value_heads": 8, "max_position_embeddings": 131072},
    end_token=2,
    prefixes=_WITHOUT_HEAD,
    activations={**SILU, **GELU_TANH},
    windows=Windows.ALL,
)

_QWEN2 = Architecture(
    "Qwen2ForCausalLM",
    model_type="qwen2",
    defaults={
        "num_key_value_heads": 32,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "max_position_embeddings": 32768,
    },
    prefixes=_WITHOUT_HEAD,
    qkv_bias=True,
    activations={**SILU, **GELU_TANH},
    windows=Windows.LATE,
)

_HEAD_NORMS = TensorNames(
    query_norm="model.layers.{i}.self_attn.q_norm",
    key_norm="model.layers.{i}.self_attn.k_norm",
)

_QWEN3 = replace(
    _QWEN2,
    name="Qwen3ForCausalLM",
    model_type="qwen3",
    tensors=_HEAD_NORMS,
    defaults={**_QWEN2.defaults, "head_dim": 128},
    qkv_bias="attention_bias",
    out_bias="attention_bias",
)

_PHI3 = Architecture(
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
    prefixes=_WITHOUT_HEAD,
    activations={**SILU, **GELU_TANH},
    windows=Windows.ALL,
    partial_rotary=True,
    long_rope_names=("longrope", "su", "yarn"),  # all three have been written for the same thing
)

_GEMMA = Architecture(
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
    prefixes=_WITHOUT_HEAD,
    required={"use_bidirectional_attention": False},
    norm=Norm.RMS_OFFSET,
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    activations={**GELU_TANH, **SILU, "gelu": "gelu_tanh"},  # the first releases say gelu and mean the tanh form
    embedding_scaled=True,
)

_FOUR_NORMS = TensorNames(
    after_attention_norm="model.layers.{i}.post_attention_layernorm",
    mlp_norm="model.layers.{i}.pre_feedforward_layernorm",
    after_mlp_norm="model.layers.{i}.post_feedforward_layernorm",
)

_GEMMA2 = replace(
    _GEMMA,
    name="Gemma2ForCausalLM",
    model_type="gemma2",
    tensors=_FOUR_NORMS,
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
    windows=Windows.PATTERN,
    attention_softcap=True,
)

_GEMMA3 = replace(
    _GEMMA2,
    name="Gemma3ForCausalLM",
    model_type="gemma3_text",
    foreign=(),
    tensors=replace(_FOUR_NORMS, query_norm=_HEAD_NORMS.query_norm, key_norm=_HEAD_NORMS.key_norm),
    defaults={
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    },
    required={"use_bidirectional_attention": False, "attn_logit_softcapping": None},
    local_rope=True,
    attention_softcap=False,
)

_GEMMA3_WITH_IMAGES = replace(
    _GEMMA3,
    name="Gemma3ForConditionalGeneration",
    model_type="gemma3",
    section="text_config",
    prefixes=(
        ("language_model.lm_head", "lm_head"),
        ("language_model.model.", "model."),
        ("model.language_model.", "model."),
    ),
    other_parts=(
        "vision_tower.",
        "multi_modal_projector.",
        "model.vision_tower.",
        "model.multi_modal_projector.",
    ),
)

_GPT2 = Architecture(
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
    foreign=(*_OTHERS, "num_key_value_heads", "head_dim"),
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
)

_OPT = Architecture(
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
    foreign=(*_OTHERS, "num_key_value_heads", "head_dim", "rms_norm_eps"),
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
    norm=Norm.LAYER,
    qkv_bias="enable_bias",
    out_bias="enable_bias",
    mlp_bias="enable_bias",
    activations={**GELU_TANH, **SILU, **GELU, "relu": "relu"},
    position_offset=2,
    norm_before="do_layer_norm_before",
)

FAMILIES = (
    _LLAMA,
    _MISTRAL,
    _QWEN2,
    _QWEN3,
    _PHI3,
    _GEMMA,
    _GEMMA2,
    _GEMMA3,
    _GEMMA3_WITH_IMAGES,
    _GPT2,
    _OPT,
)
