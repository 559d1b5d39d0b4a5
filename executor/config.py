"""What a model folder says about its model.

Owns `ModelConfig`, read from config.json and generation_config.json with every number bounded and everything unknown refused; no code from the
folder is ever run. It does not know tensors (no torch here): the door reads limits from it, weights and decoder their shapes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InvalidModel
from .architectures import ARCHITECTURES, Architecture

MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Rotary frequencies: `kind` is "default", "linear" or "llama3"; the other fields are the llama3 rule's (factor also linear's)."""

    kind: str
    theta: float
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context_tokens: int = 8192


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of a decoder. `max_context_tokens` bounds prompt plus output; `eos_ids` end a job unless it ignores them."""

    architecture: Architecture
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab_size: int
    max_context_tokens: int
    norm_eps: float
    rope: RopeScaling
    tied_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    bos_id: int | None
    eos_ids: tuple[int, ...]


def read_json(folder: Path, name: str, *, required: bool = True) -> dict[str, Any]:
    """The object in folder/name; {} when it is missing and not required. Raises InvalidModel naming the file."""
    path = folder / name
    if not path.is_file():
        if required:
            raise InvalidModel(f"The model folder has no {name}; a Hugging Face model folder is needed.", field=name)
        return {}
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InvalidModel(f"{name} is too large.", field=name, limit=f"{MAX_JSON_BYTES} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{name} is not readable JSON in UTF-8.", field=name) from error
    if not isinstance(value, dict):
        raise InvalidModel(f"{name} must hold one JSON object.", field=name)
    return value


def load_config(folder: Path) -> ModelConfig:
    """Read and check config.json and generation_config.json.

    Raises InvalidModel for a missing or malformed file, an unknown architecture (naming the known ones), custom code, quantised weights,
    an unsupported rotary type, or a number out of bounds.
    """
    if not folder.is_dir():
        raise InvalidModel("The model folder does not exist or is no folder.", field="model")
    raw = read_json(folder, "config.json")
    _refuse_foreign(raw)
    architecture = _architecture(raw)
    heads = _whole(raw, "num_attention_heads", 1, 1024)
    hidden = _whole(raw, "hidden_size", 2, 2**17)
    kv_heads = _whole(raw, "num_key_value_heads", 1, heads, default=heads)
    head_dim = _whole(raw, "head_dim", 2, 1024, default=hidden // heads)
    if heads % kv_heads:
        raise InvalidModel(
            f"{heads} attention heads cannot share {kv_heads} key-value heads evenly.", field="num_key_value_heads"
        )
    if head_dim % 2:
        raise InvalidModel(f"head_dim is {head_dim}; rotary embedding needs an even number.", field="head_dim")
    if raw.get("hidden_act", "silu") != "silu":
        raise InvalidModel("Only the silu activation is supported.", field="hidden_act", limit="silu")
    vocab_size = _whole(raw, "vocab_size", 2, 2**24)
    context = _whole(raw, "max_position_embeddings", 2, 2**24, default=2048)
    return ModelConfig(
        architecture=architecture,
        layers=_whole(raw, "num_hidden_layers", 1, 1024),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_whole(raw, "intermediate_size", 1, 2**20),
        vocab_size=vocab_size,
        max_context_tokens=context,
        norm_eps=_real(raw, "rms_norm_eps", 0.0, 1.0, default=1e-6),
        rope=_rope(raw, context),
        tied_embeddings=_flag(raw, "tie_word_embeddings"),
        attention_bias=_flag(raw, "attention_bias"),
        mlp_bias=_flag(raw, "mlp_bias"),
        bos_id=_token_ids(raw, "bos_token_id", vocab_size)[0] if raw.get("bos_token_id") is not None else None,
        eos_ids=_eos_ids(raw, read_json(folder, "generation_config.json", required=False), vocab_size),
    )


def _refuse_foreign(raw: dict[str, Any]) -> None:
    if "auto_map" in raw:
        raise InvalidModel(
            "config.json asks for code from the model folder (auto_map), which is never run. Use a model of a known architecture.",
            field="auto_map",
        )
    if raw.get("quantization_config") is not None:
        raise InvalidModel(
            "Quantised weights are not supported; use the unquantised model.", field="quantization_config"
        )


def _architecture(raw: dict[str, Any]) -> Architecture:
    names = raw.get("architectures")
    known = ", ".join(sorted(ARCHITECTURES))
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise InvalidModel(
            "config.json must name exactly one architecture.", field="architectures", limit=f"one of {known}"
        )
    if names[0] not in ARCHITECTURES:
        shown = names[0][:80]
        raise InvalidModel(
            f"The architecture {shown!r} is not known. Known: {known}.", field="architectures", limit=f"one of {known}"
        )
    return ARCHITECTURES[names[0]]


def _rope(raw: dict[str, Any], context: int) -> RopeScaling:
    """The newer `rope_parameters` or the older `rope_theta` with `rope_scaling`."""
    for name in ("rope_parameters", "rope_scaling"):
        if raw.get(name) is not None and not isinstance(raw[name], dict):
            raise InvalidModel(f"{name} must be an object.", field=name)
    merged: dict[str, Any] = {"rope_theta": raw.get("rope_theta", 10000.0)}
    merged |= raw.get("rope_scaling") or {}
    merged |= raw.get("rope_parameters") or {}
    kind = merged.get("rope_type", merged.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise InvalidModel(
            f"The rotary type {str(kind)[:40]!r} is not supported.",
            field="rope_type",
            limit="default, linear or llama3",
        )
    if merged.get("partial_rotary_factor", 1.0) != 1.0:
        raise InvalidModel("Partial rotary embedding is not supported.", field="partial_rotary_factor", limit="1")
    theta = _real(merged, "rope_theta", 1.0, 1e12)
    if kind == "default":
        return RopeScaling("default", theta)
    factor = _real(merged, "factor", 1.0, 1e6)
    if kind == "linear":
        return RopeScaling("linear", theta, factor)
    low, high = _real(merged, "low_freq_factor", 1e-6, 1e6), _real(merged, "high_freq_factor", 1e-6, 1e6)
    if not low < high:
        raise InvalidModel("high_freq_factor must be above low_freq_factor.", field="high_freq_factor")
    original = _whole(merged, "original_max_position_embeddings", 1, 2**24, default=context)
    return RopeScaling("llama3", theta, factor, low, high, original)


def _eos_ids(config: dict[str, Any], generation: dict[str, Any], vocab_size: int) -> tuple[int, ...]:
    """End tokens: generation_config.json decides where it names any, config.json otherwise."""
    source = generation if generation.get("eos_token_id") is not None else config
    return _token_ids(source, "eos_token_id", vocab_size) if source.get("eos_token_id") is not None else ()


def _token_ids(raw: dict[str, Any], name: str, vocab_size: int) -> tuple[int, ...]:
    value = raw[name]
    ids = value if isinstance(value, list) else [value]
    if not ids or len(ids) > 64 or not all(type(i) is int and 0 <= i < vocab_size for i in ids):
        raise InvalidModel(
            f"{name} must be a token id or a short list of them.", field=name, limit=f"0..{vocab_size - 1}"
        )
    return tuple(ids)


def _whole(raw: dict[str, Any], name: str, low: int, high: int, *, default: int | None = None) -> int:
    value = raw.get(name)
    if value is None:
        if default is None:
            raise InvalidModel(f"config.json lacks {name}.", field=name, limit=f"{low}..{high}")
        value = default
    if type(value) is not int or not low <= value <= high:
        raise InvalidModel(
            f"{name} in config.json must be a whole number in {low}..{high}.", field=name, limit=f"{low}..{high}"
        )
    return value


def _real(raw: dict[str, Any], name: str, low: float, high: float, *, default: float | None = None) -> float:
    value = raw.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidModel(
            f"{name} in config.json must be a number from {low:g} to {high:g}.", field=name, limit=f"{low:g}..{high:g}"
        )
    return float(value)


def _flag(raw: dict[str, Any], name: str) -> bool:
    value = raw.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidModel(f"{name} in config.json must be true or false.", field=name)
    return bool(value)
