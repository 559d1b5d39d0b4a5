"""Small models with random weights, made on the spot, so that everything can be run without a download.

Owns the presets, the training of a byte-level BPE tokenizer on Python's own documentation, and the writing of a Hugging Face folder that
Transformers loads too. It is not used to serve: `skipjoin model init`, tests and the demo call it.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ..core.errors import InvalidInput
from .config import load_config
from .random_weights import random_weights
from .registry import find_architecture

BOS, EOS, USER, ASSISTANT, SYSTEM = "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL_TOKENS = (BOS, EOS, USER, ASSISTANT, SYSTEM)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('The role must be system, user or assistant.') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

_DOCUMENTED_MODULES = (
    *(
        "argparse",
        "ast",
        "bisect",
        "calendar",
        "codecs",
        "collections",
        "configparser",
        "contextlib",
        "csv",
        "datetime",
    ),
    *(
        "decimal",
        "difflib",
        "doctest",
        "email.message",
        "enum",
        "fractions",
        "functools",
        "gettext",
        "heapq",
        "http.client",
    ),
    *(
        "inspect",
        "io",
        "ipaddress",
        "itertools",
        "json",
        "logging",
        "mailbox",
        "math",
        "operator",
        "os",
        "pathlib",
        "pickletools",
    ),
    *(
        "platform",
        "pprint",
        "random",
        "re",
        "shutil",
        "socket",
        "statistics",
        "string",
        "struct",
        "subprocess",
        "tarfile",
    ),
    *(
        "tempfile",
        "textwrap",
        "threading",
        "timeit",
        "tokenize",
        "traceback",
        "typing",
        "unittest.mock",
        "urllib.parse",
    ),
    *("urllib.request", "uuid", "weakref", "xml.dom.minidom", "zipfile"),
)


@dataclass(frozen=True, slots=True)
class Preset:
    """Shape of a random model, a Llama unless `architecture` says otherwise; `fields` stand in config.json besides, in the family's own spelling."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab_size: int
    max_context_tokens: int
    architecture: str = "LlamaForCausalLM"
    model_type: str = "llama"
    fields: Mapping[str, object] = field(default_factory=dict)


_TINY = Preset(layers=2, hidden=64, heads=4, kv_heads=2, intermediate=128, vocab_size=512, max_context_tokens=1024)
_GELU = "gelu_pytorch_tanh"
_GEMMA2 = {"hidden_activation": _GELU, "query_pre_attn_scalar": 16, "sliding_window": 64}


def _tiny(
    architecture: str, model_type: str, fields: Mapping[str, object] | None = None, *, kv_heads: int = 2
) -> Preset:
    return replace(_TINY, architecture=architecture, model_type=model_type, kv_heads=kv_heads, fields=fields or {})


PRESETS = {
    "tiny": _TINY,
    "small": Preset(
        layers=8, hidden=512, heads=8, kv_heads=4, intermediate=1408, vocab_size=8192, max_context_tokens=8192
    ),
    "tiny-mistral": _tiny("MistralForCausalLM", "mistral", {"sliding_window": 64}),
    "tiny-qwen2": _tiny("Qwen2ForCausalLM", "qwen2"),
    "tiny-qwen3": _tiny("Qwen3ForCausalLM", "qwen3"),
    "tiny-phi3": _tiny("Phi3ForCausalLM", "phi3", {"sliding_window": 64, "pad_token_id": 0}),
    "tiny-gemma": _tiny("GemmaForCausalLM", "gemma", {"hidden_act": _GELU}),
    "tiny-gemma2": _tiny("Gemma2ForCausalLM", "gemma2", _GEMMA2),
    "tiny-gemma3": _tiny("Gemma3ForCausalLM", "gemma3_text", _GEMMA2),
    "tiny-gpt2": _tiny("GPT2LMHeadModel", "gpt2", {"activation_function": "gelu_new"}, kv_heads=4),
    "tiny-opt": _tiny("OPTForCausalLM", "opt", {"activation_function": "relu"}, kv_heads=4),
}


def init_model(folder: str | Path, preset: str, seed: int = 0) -> Preset:
    """Write a model folder: config, weights (float32), tokenizer, chat template, generation config.

    Same preset, seed and Python version: same bytes. Raises InvalidInput for an unknown preset, a negative seed, or a folder that
    already holds something or cannot be written.
    """
    if preset not in PRESETS:
        raise InvalidInput(f"There is no preset {preset[:40]!r}.", field="preset", limit=", ".join(PRESETS))
    if not 0 <= seed < 2**63:
        raise InvalidInput("The seed must be a whole number from 0 on.", field="seed", limit=f"0..{2**63 - 1}")
    path = Path(folder)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InvalidInput("The folder already holds something; name a new or empty one.", field="dir")
        path.mkdir(parents=True, exist_ok=True)
        shape = PRESETS[preset]
        tokenizer = train_tokenizer(shape.vocab_size)
        tokenizer.save(str(path / "tokenizer.json"))
        for name, value in _json_files(shape, tokenizer).items():
            (path / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        save_file(random_weights(load_config(path), seed), path / "model.safetensors", metadata={"format": "pt"})
        (path / "model.safetensors").chmod(0o644)
    except OSError as error:
        raise InvalidInput(f"The folder cannot be written: {error.strerror}.", field="dir") from error
    return shape


def train_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of exactly `vocab_size` tokens; a text too small for that is filled up with reserved special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(), trainer)
    missing = vocab_size - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"<|reserved_{i}|>" for i in range(missing)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def _training_text() -> Iterator[str]:
    """Python's language reference, which every installation carries for `help()`, and the docstrings of some of its modules."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]
    for name in _DOCUMENTED_MODULES:
        module = importlib.import_module(name)
        for _, member in sorted(vars(module).items()):
            members = sorted(vars(member).items()) if isinstance(member, type) else []
            for documented in (member, *(inner for _, inner in members)):
                # Looked up without asking the object: some of typing's answer with a deprecation warning.
                doc = inspect.getattr_static(documented, "__doc__", None)
                if isinstance(doc, str):
                    yield doc


def _json_files(shape: Preset, tokenizer: Tokenizer) -> dict[str, dict[str, object]]:
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    config: dict[str, object] = {
        "architectures": [shape.architecture],
        "model_type": shape.model_type,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.hidden // shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": shape.max_context_tokens,
        "norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "torch_dtype": "float32",
    }
    spelled = {"norm_eps": "rms_norm_eps", **find_architecture(shape.architecture).spelled}
    return {
        "config.json": {spelled.get(name, name): value for name, value in config.items()} | dict(shape.fields),
        "generation_config.json": {"bos_token_id": bos, "eos_token_id": eos},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": EOS,
            "model_max_length": shape.max_context_tokens,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
