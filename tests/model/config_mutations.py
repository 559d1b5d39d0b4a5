"""Every field that a config.json of a family can hold, with values that ask for another model.

The fields are those of Transformers' own config classes, so that a release with a new one is tried
without a word here.
"""

from __future__ import annotations

import dataclasses
import json

import torch
import transformers
from transformers_models import SHAPES

_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 100.0}
_LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 3.0, 5.0, 9.0]}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_BOTH = {
    "full_attention": {"rope_type": "default", "rope_theta": 77.0},
    "sliding_attention": {"rope_type": "linear", "factor": 3.0},
}
_ROPES = [
    {"rope_type": "linear", "factor": 2.0},
    {"type": "linear", "factor": 2.0, "rope_theta": 50.0},
    {"rope_type": "dynamic", "factor": 2.0},
    _YARN,
    _YARN | {"beta_fast": 8.0, "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.4, "truncate": False},
    _YARN | {"attention_factor": 1.3, "truncate": None, "factor": None},
    _LONG | {"original_max_position_embeddings": 40},
    _LONG | {"type": "su", "factor": 3.0},
    _LLAMA3 | {"original_max_position_embeddings": 16},
    _LLAMA3,
    {"rope_type": "default", "rope_theta": 33.0},
    {"rope_theta": 33.0, "partial_rotary_factor": 0.5},
    {"rope_type": "proportional", "factor": 2.0, "rope_theta": 50.0},
    _BOTH,
    _BOTH | {"truncate": False, "full_attention": _YARN},
    {"full_attention": None},
    {},
    None,
]
_ACTIVATIONS = ["gelu", "relu", "silu", "gelu_new", "gelu_pytorch_tanh", "swish", "gelu_python", "quick_gelu", "tanh"]
_SLIDING, _FULL = "sliding_attention", "full_attention"
# The first value of each is the one that the short run tries.
VALUES = {
    "rope_parameters": _ROPES,
    "rope_scaling": _ROPES,
    "rope_theta": [321.0, None],
    "rope_local_base_freq": [321.0],
    "partial_rotary_factor": [0.5],
    "original_max_position_embeddings": [16, None],
    "hidden_act": _ACTIVATIONS,
    "hidden_activation": _ACTIVATIONS,
    "activation_function": _ACTIVATIONS,
    "layer_types": [
        [_FULL, _SLIDING],
        [_SLIDING, _FULL],
        [_FULL] * 2,
        [_SLIDING] * 2,
        ["attention"] * 2,
        [_FULL],
        None,
    ],
    "sliding_window": [5, None, 1000, 0],
    "max_window_layers": [0, 1, 9],
    "sliding_window_pattern": [1, 2, 3],
    "_sliding_window_pattern": [1],
    "attention_chunk_size": [4],
    "per_layer_config": [{"0": {"sliding_window": 3}}, {}],
    "is_causal": [False, None],
    "kv_sharing_modes": [["reuse", None]],
    "query_pre_attn_scalar": [3, 100.5],
    "attn_logit_softcapping": [1.5, None],
    "final_logit_softcapping": [1.5, None],
    "head_dim": [16, 4, None],
    "n_ctx": [8],
    "n_inner": [64, None],
    "id2label": [{"0": "a", "1": "b"}],
    "label2id": [{"a": 0}],
    "problem_type": ["regression"],
    "summary_activation": ["tanh"],
    "dtype": ["bfloat16", "float16"],
    "torch_dtype": ["bfloat16"],
    "pruned_heads": [{"0": [0]}],
    "quantization_config": [{"quant_method": "gptq", "bits": 4}],
    "transformers_weights": ["other.safetensors"],
    "configuration_files": [["config.4.0.0.json"]],
    "pretraining_tp": [2],
    "eos_token_id": [[2, 5], 7, None],
    "bos_token_id": [7, None],
    "pad_token_id": [5, -1, None],
    "architectures": [None, []],
    "temperature": [0.3],
    "an_unknown_field": [3, "words", {"a": 1}],
    "attn_implementation": ["eager"],
    "use_mrope": [False],
    "lm_head_bias": [False],
    "word_embed_proj_dim": [16, None],
    "alibi": [True],
    "parallel_attn": [True],
    "new_decoder_architecture": [True],
    "scale_embedding": [True],
    "logit_scale": [0.5],
    "attention_multiplier": [0.5],
    "residual_multiplier": [0.5],
    "embedding_multiplier": [2.0],
    "qk_layernorm": [True],
    "rotary_pct": [0.5],
    "layer_norm_eps": [0.5],
    "norm_eps": [0.5],
}
_ANY = (
    *(
        "rope_scaling",
        "rope_theta",
        "rope_local_base_freq",
        "partial_rotary_factor",
        "original_max_position_embeddings",
    ),
    *("sliding_window_pattern", "_sliding_window_pattern", "attention_chunk_size", "per_layer_config", "is_causal"),
    *("kv_sharing_modes", "n_ctx", "torch_dtype", "pruned_heads", "quantization_config", "transformers_weights"),
    *(
        "configuration_files",
        "temperature",
        "an_unknown_field",
        "attn_implementation",
        "use_mrope",
        "lm_head_bias",
        "alibi",
    ),
    *("parallel_attn", "new_decoder_architecture", "scale_embedding", "logit_scale", "attention_multiplier"),
    *("residual_multiplier", "embedding_multiplier", "qk_layernorm", "rotary_pct", "layer_norm_eps", "norm_eps"),
)


def config_class(model_type):
    return getattr(transformers, f"{SHAPES[model_type][0]}Config")


def own_fields(model_type):
    """Of the family's own class and of the one that all of them share."""
    return {field.name for field in dataclasses.fields(config_class(model_type))}


def every_field():
    """What any family has, aliases, and what older files and other families write: each is tried on
    each family.
    """
    names = set(_ANY)
    for model_type in SHAPES:
        names |= own_fields(model_type) | set(config_class(model_type).attribute_map)
    return sorted(names - {"transformers_version"})


def values_for(model_type, name):
    """Values to try in place of the family's own, and `...` for leaving the field out."""
    if name in VALUES:
        return [*VALUES[name], ...]
    config = config_class(model_type)(**SHAPES[model_type][1])
    others = (config_class(other)(**SHAPES[other][1]) for other in SHAPES)
    known = next((getattr(c, name) for c in (config, *others) if getattr(c, name, None) is not None), None)
    if isinstance(known, bool):
        return [not known, known, ...]
    if isinstance(known, int):
        return [2 * known, known // 2 or 3, ...]
    if isinstance(known, float):
        return [2 * known + 0.125, ...]
    return ["other", None, ...]


def make_folder(model_type, folder):
    """A random model of the family, every norm and bias moved off its neutral value."""
    stem, shape = SHAPES[model_type]
    torch.manual_seed(11)
    config = config_class(model_type)(**shape)
    name = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(stem, f"{stem}ForCausalLM")
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()


def write(folder, raw, changes):
    """config.json with the changes; `...` leaves a field out."""
    changed = {name: value for name, value in (raw | changes).items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(changed))
