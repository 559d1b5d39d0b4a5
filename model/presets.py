"""Models with random weights, made on the spot, so that everything can be run without a download.

Owns the presets and the writing of a Hugging Face folder that Transformers loads too. How large the
numbers are random_weights knows, how they get into files shards does. It is not used to serve:
`skipjoin model init`, tests, benchmarks and the demo call it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from ..core.errors import InvalidInput
from .config import ModelConfig, config_of
from .families import FAMILIES
from .registry import find_architecture
from .text.preset_tokenizer import BOS, EOS, SPECIAL_TOKENS, train_tokenizer
from .weights.loaded import LoadedModel, parse_device, parse_dtype
from .weights.memory import refuse_too_large
from .weights.random_weights import implied_shapes, random_tensors, random_weights_on
from .weights.shards import SHARD_BYTES, write_shards

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
FEW_BYTES = 64 << 20
"""Room on the disk beyond the weights: tokenizer, headers, what else writes there in the meantime."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Shape of a random model, a Llama unless `architecture` says otherwise; `fields` stand in
    config.json besides, in the family's own spelling.

    `dtype`: what a folder stores. `tokenizer_size`: tokens that have a text, where that is not all
    of the vocabulary; Python's documentation gives some ten thousand.
    """

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
    dtype: str = "float32"
    tokenizer_size: int | None = None

    @property
    def config(self) -> ModelConfig:
        """What the loader would read from a folder of it."""
        return config_of(_config_json(self), {})

    @property
    def weight_bytes(self) -> int:
        """Of all tensors in a folder."""
        return _numbers(self.config) * parse_dtype(self.dtype).itemsize


_TINY = Preset(layers=2, hidden=64, heads=4, kv_heads=2, intermediate=128, vocab_size=512, max_context_tokens=1024)


def _tiny_families() -> dict[str, Preset]:
    """`tiny-TYPE` of each family whose row says what is to stand in its config.json."""
    presets = {}
    for row in FAMILIES:
        if row.tiny is None or row.model_type is None:
            continue
        kv_heads = _TINY.heads if "num_key_value_heads" in row.foreign else _TINY.kv_heads
        name = f"tiny-{row.model_type.removesuffix('_text')}"
        presets[name] = replace(
            _TINY, architecture=row.name, model_type=row.model_type, kv_heads=kv_heads, fields=row.tiny
        )
    return presets


PRESETS = {
    "tiny": _TINY,
    "small": Preset(
        layers=8, hidden=512, heads=8, kv_heads=4, intermediate=1408, vocab_size=8192, max_context_tokens=8192
    ),
    "llama-3-8b": Preset(
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        intermediate=14336,
        vocab_size=128256,
        max_context_tokens=8192,
        fields={"rope_theta": 500000.0},
        dtype="bfloat16",
        tokenizer_size=8192,
    ),
    **_tiny_families(),
}


def preset_named(name: str) -> Preset:
    """The shape. Raises InvalidInput naming those that there are."""
    if name not in PRESETS:
        raise InvalidInput(f"There is no preset {name[:40]!r}.", field="preset", limit=", ".join(PRESETS))
    return PRESETS[name]


def random_model(
    preset: str, device: torch.device | str = "cpu", dtype: torch.dtype | str | None = None, seed: int = 0
) -> LoadedModel:
    """A model of `preset` in memory, drawn tensor by tensor on the device and in the precision
    (None: the preset's): no folder, no tokenizer.

    It takes the weights' own memory and that of one layer or embedding besides. The numbers follow
    from seed, device and precision, and are not those of the folder of the same seed. Raises
    InvalidInput for an unknown preset, device or precision or a bad seed, InvalidModel when the
    weights do not fit into what is free.
    """
    shape = preset_named(preset)
    _check_seed(seed)
    device = parse_device(device) if isinstance(device, str) else device
    dtype = parse_dtype(shape.dtype if dtype is None else dtype) if not isinstance(dtype, torch.dtype) else dtype
    config = shape.config
    refuse_too_large(_numbers(config) * dtype.itemsize, device, dtype)
    return LoadedModel(config, random_weights_on(config, seed, device, dtype), device, dtype)


def init_model(
    folder: str | Path,
    preset: str,
    seed: int = 0,
    *,
    shard_bytes: int = SHARD_BYTES,
    written: Callable[[str], None] = lambda _: None,
) -> Preset:
    """Write a model folder: config, weights in the preset's precision, tokenizer, chat template,
    generation config.

    Same preset, seed and Python version: same bytes. Weights of more than `shard_bytes` become
    several files with an index; no more than that and one tensor are in memory at once. `written`
    hears the name of each file of weights. Raises InvalidInput for an unknown preset, a negative
    seed, or a folder that already holds something, cannot be written or has no room.
    """
    shape = preset_named(preset)
    _check_seed(seed)
    path = Path(folder)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InvalidInput("The folder already holds something; name a new or empty one.", field="dir")
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        try:
            check_room(path, preset)
        except InvalidInput:
            if made:
                path.rmdir()
            raise
        tokenizer = train_tokenizer(shape.tokenizer_size or shape.vocab_size)
        tokenizer.save(str(path / "tokenizer.json"))
        for name, value in _json_files(shape).items():
            (path / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        dtype, config = parse_dtype(shape.dtype), shape.config
        sizes = {name: math.prod(size) * dtype.itemsize for name, size in implied_shapes(config).items()}
        write_shards(path, random_tensors(config, seed, dtype), sizes, shard_bytes, written)
    except OSError as error:
        raise InvalidInput(f"The folder cannot be written: {error.strerror}.", field="dir") from error
    except SafetensorError as error:
        raise InvalidInput(f"The weights cannot be written: {error}.", field="dir") from error
    return shape


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise InvalidInput("The seed must be a whole number from 0 on.", field="seed", limit=f"0..{2**63 - 1}")


def check_room(path: Path, preset: str) -> None:
    """Raise InvalidInput when the disk of the folder `path`, which is there, has no room for the
    preset's weights.
    """
    free, weight_bytes = shutil.disk_usage(path).free, preset_named(preset).weight_bytes
    if free < weight_bytes + FEW_BYTES:
        raise InvalidInput(
            f"The weights of {preset} take {weight_bytes / 2**30:.1f} GiB of disk; make room, or name a folder on "
            "a larger one.",
            field="dir",
            limit=f"the {free / 2**30:.1f} GiB that are free",
        )


def _numbers(config: ModelConfig) -> int:
    return sum(math.prod(size) for size in implied_shapes(config).values())


def _config_json(shape: Preset) -> dict[str, object]:
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
        "bos_token_id": SPECIAL_TOKENS.index(BOS),
        "eos_token_id": SPECIAL_TOKENS.index(EOS),
        "torch_dtype": shape.dtype,
    }
    family = find_architecture(shape.architecture)
    spelled = {"norm_eps": "rms_norm_eps", **family.spelled}
    named = {spelled.get(name, name): value for name, value in config.items()} | dict(shape.fields)
    return {name: value for name, value in named.items() if name not in family.foreign}


def _json_files(shape: Preset) -> dict[str, dict[str, object]]:
    config = _config_json(shape)
    return {
        "config.json": config,
        "generation_config.json": {name: config[name] for name in ("bos_token_id", "eos_token_id")},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": EOS,
            "model_max_length": shape.max_context_tokens,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
