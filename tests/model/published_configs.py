"""How the makers of well-known models spell config.json: every field as published, shapes and token
ids made small.
"""

from __future__ import annotations

_SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "n_embd": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "head_dim": 8,
    "initializer_range": 0.3,
    "init_std": 0.3,
}
_TRAINING = {"attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True}
_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 32000,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3_ROPE = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
_LLAMA31 = _LLAMA | {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rope_scaling": _LLAMA3_ROPE,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.3",
    "eos_token_id": [2, 8, 9],
}
_MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
_QWEN2 = _TRAINING | {
    "architectures": ["Qwen2ForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_QWEN3 = _QWEN2 | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "rope_scaling": None,
    "sliding_window": None,
}
_PHI3 = {
    "_name_or_path": "Phi-3-mini-4k-instruct",
    "architectures": ["Phi3ForCausalLM"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    },
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "model_type": "phi3",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 4,
    "original_max_position_embeddings": 4096,
    "pad_token_id": 0,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "attention_bias": False,
    "vocab_size": 32064,
}
_LONG = {"long_factor": [1.0, 2.0, 5.0, 9.0], "short_factor": [1.0, 1.02, 1.05, 1.3], "type": "longrope"}
_GEMMA = _TRAINING | {
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 256,
    "hidden_act": "gelu",
    "hidden_size": 2048,
    "intermediate_size": 16384,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 8,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "vocab_size": 256000,
}
_GEMMA2 = _GEMMA | {
    "architectures": ["Gemma2ForCausalLM"],
    "attn_logit_softcapping": 50.0,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 7],
    "final_logit_softcapping": 30.0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "model_type": "gemma2",
    "num_key_value_heads": 2,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
_GEMMA3 = _TRAINING | {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 7],
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
}
_GPT2 = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50,
    "embd_pdrop": 0.1,
    "eos_token_id": 50,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}
_OPT = {
    "_name_or_path": "facebook/opt-125m",
    "activation_dropout": 0.0,
    "activation_function": "relu",
    "architectures": ["OPTForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "do_layer_norm_before": True,
    "dropout": 0.1,
    "eos_token_id": 2,
    "ffn_dim": 3072,
    "hidden_size": 768,
    "init_std": 0.02,
    "layerdrop": 0.0,
    "max_position_embeddings": 2048,
    "model_type": "opt",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "prefix": "</s>",
    "torch_dtype": "float16",
    "transformers_version": "4.21.0.dev0",
    "use_cache": True,
    "vocab_size": 50272,
    "word_embed_proj_dim": 32,
}


def without(raw, *names):
    return {name: value for name, value in raw.items() if name not in names}


SERVED = {
    "Llama 1": _LLAMA | {"max_sequence_length": 2048, "pad_token_id": -1, "torch_dtype": "float16"},
    "Llama 2": _LLAMA
    | {"max_position_embeddings": 4096, "num_key_value_heads": 4, "pretraining_tp": 1, "rope_scaling": None},
    "Vicuna 16k": _LLAMA
    | {
        "max_position_embeddings": 4096,
        "rope_scaling": {"factor": 4.0, "type": "linear"},
        "max_sequence_length": 16384,
    },
    "Code Llama": _LLAMA | {"max_position_embeddings": 16384, "rope_theta": 1000000, "rope_scaling": None},
    "Yarn Llama 2": _LLAMA
    | {
        "max_position_embeddings": 65536,
        "rope_scaling": {"factor": 16.0, "original_max_position_embeddings": 4096, "type": "yarn", "finetuned": True},
    },
    "Llama 3": without(_LLAMA31, "rope_scaling") | {"max_position_embeddings": 8192, "eos_token_id": 2},
    "Llama 3.1": _LLAMA31,
    "Llama 3.2": _LLAMA31
    | {"head_dim": 64, "rope_scaling": _LLAMA3_ROPE | {"factor": 32.0}, "tie_word_embeddings": True},
    "Llama 3.1 as Transformers 5 saves it": without(_LLAMA31, "rope_scaling", "rope_theta", "torch_dtype")
    | {"rope_parameters": _LLAMA3_ROPE | {"rope_theta": 500000.0}, "dtype": "bfloat16", "head_dim": 128},
    "TinyLlama": _LLAMA | {"max_position_embeddings": 2048, "num_key_value_heads": 1, "pretraining_tp": 1},
    "SmolLM 2": _LLAMA
    | {
        "is_llama_config": True,
        "rope_interleaved": False,
        "max_position_embeddings": 8192,
        "rope_theta": 100000,
        "tie_word_embeddings": True,
        "pad_token_id": 2,
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    },
    "DeepSeek R1 distilled, Llama": _LLAMA31 | {"eos_token_id": 2},
    "DeepSeek Coder": _LLAMA
    | {"max_position_embeddings": 16384, "rope_scaling": {"factor": 4.0, "type": "linear"}, "rope_theta": 100000},
    "Yi": _LLAMA
    | {"max_position_embeddings": 4096, "num_key_value_heads": 2, "rope_theta": 5000000.0, "pad_token_id": 0},
    "Mistral 7B": _MISTRAL,
    "Mistral 7B v0.2": _MISTRAL | {"sliding_window": None, "rope_theta": 1000000.0, "attention_dropout": 0.0},
    "Mistral Nemo": _MISTRAL
    | {"head_dim": 128, "max_position_embeddings": 1024000, "rope_theta": 1000000.0, "sliding_window": None},
    "Mistral Small": _MISTRAL | {"head_dim": 128, "sliding_window": None, "rope_theta": 100000000.0},
    "Zephyr": _MISTRAL | {"pad_token_id": 2, "_name_or_path": "mistralai/Mistral-7B-v0.1"},
    "Hermes 2 Pro": _MISTRAL | {"eos_token_id": 9, "vocab_size": 32032, "use_cache": False},
    "Qwen2 0.5B": _QWEN2,
    "Qwen2 7B": _QWEN2 | {"tie_word_embeddings": False, "max_window_layers": 28, "sliding_window": 131072},
    "Qwen2.5": _QWEN2 | {"use_mrope": False, "max_position_embeddings": 131072, "max_window_layers": 24},
    "Qwen2.5 as its readme makes it longer": _QWEN2
    | {"rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}},
    "DeepSeek R1 distilled, Qwen": _QWEN2
    | {"max_position_embeddings": 131072, "sliding_window": 4096, "use_mrope": False},
    "QwQ": _QWEN2 | {"tie_word_embeddings": False, "max_window_layers": 64, "max_position_embeddings": 40960},
    "Qwen3 0.6B": _QWEN3,
    "Qwen3 8B": _QWEN3 | {"tie_word_embeddings": False, "max_window_layers": 36},
    "Qwen3 longer": _QWEN3
    | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
    "Qwen3 as Transformers 5 saves it": without(_QWEN3, "rope_theta", "rope_scaling", "torch_dtype")
    | {"rope_parameters": {"rope_theta": 1000000, "rope_type": "default"}, "layer_types": ["full_attention"] * 2},
    "Phi-3 mini 4k": _PHI3,
    "Phi-3 mini 128k": _PHI3 | {"max_position_embeddings": 131072, "rope_scaling": _LONG, "sliding_window": 262144},
    "Phi-3.5 mini": _PHI3 | {"max_position_embeddings": 131072, "rope_scaling": _LONG, "sliding_window": 262144},
    "Phi-4": without(_PHI3, "auto_map")
    | {
        "max_position_embeddings": 16384,
        "original_max_position_embeddings": 16384,
        "sliding_window": None,
        "rope_theta": 250000,
    },
    "Phi-4 mini": _PHI3
    | {
        "full_attn_mod": 1,
        "interpolate_factor": 1,
        "lm_head_bias": False,
        "mlp_bias": False,
        "partial_rotary_factor": 0.75,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 2,
        "rope_scaling": _LONG | {"long_factor": [1.0, 2.0, 5.0], "short_factor": [1.0, 1.02, 1.05]},
        "sliding_window": 262144,
        "tie_word_embeddings": True,
        "auto_map": {
            "AutoConfig": "configuration_phi3.Phi3Config",
            "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
            "AutoTokenizer": "Xenova/gpt-4o",
        },
    },
    "Gemma": _GEMMA,
    "Gemma 1.1": _GEMMA | {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"},
    "Gemma with a null": _GEMMA | {"hidden_activation": None},
    "Gemma 2": _GEMMA2,
    "Gemma 2 27B": _GEMMA2 | {"query_pre_attn_scalar": 144, "_attn_implementation": "eager", "use_cache": True},
    "Gemma 3 1B": _GEMMA3,
    "Gemma 3 as Transformers 5 saves it": without(_GEMMA3, "rope_theta", "rope_local_base_freq", "rope_scaling")
    | {
        "_sliding_window_pattern": 6,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_theta": 1000000, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 10000, "rope_type": "default"},
        },
        "use_bidirectional_attention": False,
    },
    "Gemma 3 longer": _GEMMA3 | {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
    "GPT-2": _GPT2,
    "DistilGPT-2": _GPT2 | {"_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}},
    "DialoGPT": _GPT2
    | {"task_specific_params": {"conversational": {"max_length": 1000}}, "architectures": ["GPT2LMHeadModel"]},
    "OPT 125M": _OPT,
    "OPT 1.3B": _OPT | {"_remove_final_layer_norm": False},
    "OPT 350M": _OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 16, "_remove_final_layer_norm": False},
    "OPT 6.7B": _OPT | {"enable_bias": True, "layer_norm_elementwise_affine": True},
    "no architectures": without(_LLAMA, "architectures"),
    "several architectures": _LLAMA | {"architectures": ["LlamaModel", "LlamaForCausalLM"]},
    "no model_type": without(_LLAMA, "model_type"),
}
"""What Transformers and we compute alike. The published ones; below them what tools make of them."""

REFUSED = {
    "Llama 4": (
        {
            "architectures": ["Llama4ForConditionalGeneration"],
            "model_type": "llama4",
            "text_config": {},
            "vision_config": {},
        },
        "a model of text with images",
    ),
    "LLaVA": (
        {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "text_config": {"model_type": "llama"},
        },
        "a model of text with images",
    ),
    "Mistral Small 3.1": (
        {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "text_config": {}},
        "a model of text with images",
    ),
    "Qwen2.5-VL": (
        {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl"},
        "a model of text with images",
    ),
    "Mixtral": (_MISTRAL | {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}, "is not known"),
    "Qwen3 MoE": (_QWEN3 | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}, "is not known"),
    "Phi-4 multimodal": (
        _PHI3
        | {"architectures": ["Phi4MMForCausalLM"], "model_type": "phi4mm"}
        | {"auto_map": {"AutoModelForCausalLM": "modeling_phi4mm.Phi4MMForCausalLM"}},
        "code is in the folder (auto_map), and is never run",
    ),
    "Yi at first": (
        _LLAMA
        | {"architectures": ["YiForCausalLM"], "model_type": "Yi"}
        | {"auto_map": {"AutoModelForCausalLM": "modeling_yi.YiForCausalLM"}},
        "code is in the folder (auto_map), and is never run",
    ),
    "a Llama with code of its own": (
        _LLAMA | {"auto_map": {"AutoModelForCausalLM": "modeling_other.OtherForCausalLM"}},
        "is never run and is not LlamaForCausalLM",
    ),
    "a reward model": (_LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, "its head gives classes"),
    "an embedding model": (_QWEN2 | {"architectures": ["Qwen2Model"]}, "a decoder without a head"),
    "GPTQ": (_LLAMA | {"quantization_config": {"bits": 4, "quant_method": "gptq"}}, "Quantised weights"),
    "AWQ": (_LLAMA | {"quantization_config": {"bits": 4, "quant_method": "awq"}}, "Quantised weights"),
    "FP8": (_LLAMA31 | {"quantization_config": {"quant_method": "fbgemm_fp8"}}, "Quantised weights"),
    "BitsAndBytes": (
        _QWEN2 | {"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}},
        "Quantised",
    ),
    "compressed-tensors at first": (_LLAMA | {"compression_config": {"format": "int"}}, "Quantised weights"),
    "two families at once": (_LLAMA | {"architectures": ["MistralForCausalLM"]}, "two different models"),
    "Qwen2-VL's rotary embedding": (_QWEN2 | {"rope_scaling": {"type": "mrope", "mrope_section": [1]}}, "'mrope'"),
    "T5": (
        {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True},
        "encoder",
    ),
    "BERT": ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "fills gaps"),
    "nothing at all": ({}, "must name its architecture"),
}
"""config.json -> words of the true reason."""


FIRST_PHI3_128K = _PHI3 | {
    "max_position_embeddings": 131072,
    "rope_scaling": _LONG | {"type": "su"},
    "sliding_window": 262144,
}
"""Transformers 5 refuses its own older spelling, unless the original context stands in
rope_scaling, where no published file has it.
"""


def small(raw):
    """With shapes and end tokens that a test can hold, every other field as it is."""
    changed = {name: _SMALL.get(name, value) for name, value in raw.items()}
    changed["n_positions"] = 64 if "n_positions" in raw else ...
    if raw.get("model_type") == "opt":
        changed["max_position_embeddings"] = 64
    return {name: value for name, value in changed.items() if value is not ...}
