"""The fields of config.json that mean the same in every family.

Owns two tables: fields by which Transformers would compute something else than any decoder here,
and fields that are known to change nothing that is computed. It does not know a family; config asks
it what to refuse and what to tell a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from ..core.errors import InvalidModel

_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "quantization_config": ((None, {}), "Quantised weights are not supported; use the unquantised model."),
    "compression_config": ((None, {}), "Quantised weights are not supported; use the unquantised model."),
    "per_layer_config": ((None,), "Layers of different shapes (per_layer_config) are not supported."),
    "is_causal": ((True,), "A model whose tokens see later ones (is_causal) is not served."),
    "is_encoder_decoder": ((False, None), "A model with an encoder (is_encoder_decoder) is not served."),
    "attention_chunk_size": ((None,), "Attention in chunks (attention_chunk_size) is not supported."),
    "kv_sharing_modes": ((None,), "Layers that share keys and values (kv_sharing_modes) are not supported."),
    "fusion_config": ((None,), "Modules that are changed at load (fusion_config) are not supported."),
    "pruned_heads": ((None, {}), "Heads that are cut out at load (pruned_heads) are not supported."),
    "transformers_weights": (
        (None,),
        "Weights in a file that config.json names (transformers_weights) are not read; name it model.safetensors.",
    ),
    "configuration_files": (
        (None, []),
        "A config.json that sends to another file (configuration_files) is not followed; put that one in its place.",
    ),
}
"""Field -> (values that ask for nothing, what to say of any other)."""

WITHOUT_EFFECT = frozenset(
    {
        # Of the file, not of the model.
        "architectures", "model_type", "auto_map", "_name_or_path", "name_or_path", "_commit_hash",
        "transformers_version",
        "transformers.js_config", "unsloth_version", "unsloth_fixed", "tokenizer_class", "task_specific_params",
        "finetuning_task",
        # The precision is the setting `dtype`, how attention is computed the device's business.
        "dtype", "torch_dtype", "use_cache", "cache_implementation", "attn_implementation", "_attn_implementation",
        "_attn_implementation_autoset", "_flash_attn_2_enabled", "reorder_and_upcast_attn", "pretraining_tp",
        "torchscript",
        "use_bfloat16", "chunk_size_feed_forward", "gradient_checkpointing", "experts_implementation",
        # Training.
        "attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout", "activation_dropout",
        "hidden_dropout",
        "classifier_dropout", "layerdrop", "initializer_range", "initializer_factor", "init_std",
        # What the call returns, other heads, other kinds of model.
        "output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "tie_last_hidden_states",
        "id2label", "label2id",
        "num_labels", "problem_type", "summary_type", "summary_use_proj", "summary_activation",
        "summary_proj_to_labels",
        "summary_first_dropout", "is_decoder", "cross_attention_hidden_size", "tie_encoder_decoder", "tf_legacy_loss",
        "vision_config", "text_config", "is_llama_config", "prefix", "n_ctx",
        # Tokens that no plan looks at.
        "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id", "decoder_start_token_id",
        # Fields of the families' own, where others decide about them.
        "max_window_layers", "use_sliding_window", "sliding_window", "_sliding_window_pattern", "layer_types",
        "hidden_act",
        "hidden_activation", "rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq",
        "rope_interleaved",
        "original_max_position_embeddings", "partial_rotary_factor", "allow_global_per_layer_attribute_access",
    }
)  # fmt: skip
"""Fields that Transformers, or files of older releases of it, know and that change nothing that is
computed here or there: nobody is told.
"""


def refuse_foreign(raw: Mapping[str, Any]) -> None:
    """Raise InvalidModel for a field by which Transformers would compute what no decoder here does."""
    for name, (harmless, said) in _REFUSED.items():
        if name in raw and not any(raw[name] is value or raw[name] == value for value in harmless):
            raise InvalidModel(said, field=name)


def without_effect(raw: Mapping[str, Any], read: Set[str]) -> list[str]:
    """Names of fields that say something, were not read and are not known to be harmless; sorted,
    at most 16.
    """
    unread = sorted(name for name, value in raw.items() if name not in read and name not in WITHOUT_EFFECT)
    return [name[:64] for name in unread if raw[name] not in (None, False, "", [], {})][:16]
