"""Gemma 3, as text alone and as the text of a model with images."""

from __future__ import annotations

from dataclasses import replace

from ..architectures import QueryKeyNorm
from .gemma2 import FOUR_NORMS, GEMMA2
from .qwen3 import HEAD_NORMS

GEMMA3 = replace(
    GEMMA2,
    name="Gemma3ForCausalLM",
    model_type="gemma3_text",
    foreign=(),
    tensors=replace(FOUR_NORMS, query_norm=HEAD_NORMS.query_norm, key_norm=HEAD_NORMS.key_norm),
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
    query_key_norm=QueryKeyNorm.EACH_HEAD,
    local_rope=True,
    attention_softcap=False,
)

GEMMA3_WITH_IMAGES = replace(
    GEMMA3,
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
    tiny=None,
)
