"""Small models of every family as Transformers makes and saves them, with random weights, and
Transformers' own answers in float64.

Transformers rounds every RMS norm and the softmax to float32, even in a float64 model; `exact` puts
the same formulas without the rounding in their place, so that no argmax hangs on it. Masks,
windows, scales and caps stay what Transformers hands over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

VOCABULARY = 320
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LOUD = _COMMON | {"initializer_range": 0.4}  # beside an embedding that is the head as well, or norms behind halves
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 192,
    "initializer_range": 0.4,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OPT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 192,
    "init_std": 0.4,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.0],
    "long_factor": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
}


@dataclass
class Family:
    """`stem` is the name before `Config`; `model` the class that is saved; `fields` go to the
    config.
    """

    stem: str
    model: str
    fields: dict = field(default_factory=dict)


FAMILIES = {
    "llama": Family("Llama", "LlamaForCausalLM", _COMMON),
    "llama yarn": Family("Llama", "LlamaForCausalLM", _COMMON | {"rope_parameters": _YARN}),
    "llama dynamic": Family(
        "Llama",
        "LlamaForCausalLM",
        _COMMON | {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}},
    ),
    "mistral": Family("Mistral", "MistralForCausalLM", _COMMON | {"sliding_window": 24, "head_dim": 24}),
    "mistral without a window": Family("Mistral", "MistralForCausalLM", _COMMON | {"sliding_window": None}),
    "qwen2": Family("Qwen2", "Qwen2ForCausalLM", _LOUD | {"tie_word_embeddings": True}),
    "qwen2 windowed": Family(
        "Qwen2",
        "Qwen2ForCausalLM",
        _COMMON | {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1},
    ),
    "qwen3": Family("Qwen3", "Qwen3ForCausalLM", _COMMON | {"head_dim": 24}),
    "phi3": Family(
        "Phi3", "Phi3ForCausalLM", _COMMON | {"sliding_window": 40, "original_max_position_embeddings": 256}
    ),
    "phi3 longrope": Family(
        "Phi3",
        "Phi3ForCausalLM",
        _COMMON
        | {
            "rope_parameters": _LONG,
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 160,
            "max_position_embeddings": 640,
        },
    ),
    "gemma": Family("Gemma", "GemmaForCausalLM", _LOUD | {"head_dim": 24, "num_key_value_heads": 1}),
    "gemma2": Family(
        "Gemma2",
        "Gemma2ForCausalLM",
        _LOUD
        | {
            "head_dim": 24,
            "sliding_window": 24,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 8.0,
        },
    ),
    "gemma3": Family(
        "Gemma3Text",
        "Gemma3ForCausalLM",
        _LOUD
        | {
            "head_dim": 24,
            "sliding_window": 24,
            "query_pre_attn_scalar": 20,
            "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "olmo2": Family("Olmo2", "Olmo2ForCausalLM", _LOUD | {"attention_bias": True}),
    "gpt2": Family("GPT2", "GPT2LMHeadModel", _GPT2),
    "gpt2 scaled by layer": Family(
        "GPT2",
        "GPT2LMHeadModel",
        _GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 80, "activation_function": "gelu"},
    ),
    "opt": Family("OPT", "OPTForCausalLM", _OPT),
    "opt norms after": Family(
        "OPT",
        "OPTForCausalLM",
        _OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 40, "tie_word_embeddings": False},
    ),
    "opt without biases": Family("OPT", "OPTForCausalLM", _OPT | {"enable_bias": False}),
}


SWEPT_VOCABULARY, LAYERS, WINDOW, CONTEXT = 61, 2, 7, 64
_SHAPE = {
    "vocab_size": SWEPT_VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GEMMA = _SHAPE | {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 9}
SHAPES = {
    "llama": ("Llama", _SHAPE),
    "mistral": ("Mistral", _SHAPE | {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2", _SHAPE | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3": ("Qwen3", _SHAPE | {"head_dim": 8}),
    "phi3": ("Phi3", _SHAPE | {"sliding_window": WINDOW, "original_max_position_embeddings": CONTEXT}),
    "gemma": ("Gemma", _SHAPE | {"head_dim": 8}),
    "gemma2": ("Gemma2", _GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0}),
    "gemma3": ("Gemma3Text", _GEMMA | {"layer_types": ["sliding_attention", "full_attention"]}),
    "olmo2": ("Olmo2", _SHAPE),
    "gpt2": (
        "GPT2",
        {
            "vocab_size": SWEPT_VOCABULARY,
            "n_embd": 32,
            "n_layer": LAYERS,
            "n_head": 4,
            "n_positions": CONTEXT,
            "n_inner": 128,
        }
        | {"initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "opt": (
        "OPT",
        {"vocab_size": SWEPT_VOCABULARY, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": LAYERS}
        | {"num_attention_heads": 4, "max_position_embeddings": CONTEXT, "init_std": 0.3},
    ),
}
"""Model type -> name before `Config`, and fields: still smaller ones, for sweeps over every field of a
config.json (`config_mutations`).
"""


def make(name):
    """The model in float32, every norm and bias moved off its neutral value so that a forgotten one
    shows.

    An embedding that is the head as well is made small: next to it the layers' own words would be
    lost, and the model would repeat its last token.
    """
    family = FAMILIES[name]
    torch.manual_seed(5)
    model = getattr(transformers, family.model)(getattr(transformers, f"{family.stem}Config")(**family.fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
        if model.config.tie_word_embeddings:
            model.get_input_embeddings().weight *= 0.25
    return model


class _ExactNorm(torch.nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.weight = norm.weight
        self.offset = 1.0 if "Gemma" in type(norm).__name__ else 0.0
        self.eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (self.offset + self.weight)


def _exact_attention(module, query, key, value, attention_mask, scaling=None, softcap=None, dropout=0.0, **kwargs):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    shares = (scores + attention_mask).softmax(-1)
    return (shares @ value).transpose(1, 2).contiguous(), shares


AttentionInterface.register("exact", _exact_attention)
AttentionMaskInterface.register("exact", eager_mask)


def exact(model):
    """The model in float64, nothing rounded to float32 but the rotary angles, which are float32 by
    definition.
    """
    model = model.to(torch.float64)
    model.set_attn_implementation("exact")
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, _ExactNorm(child))
    return model
