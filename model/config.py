"""What a model folder says about its model.

Owns `ModelConfig`, read from config.json and the end tokens of the folder, with every number
bounded and every field that asks for another model refused; no code from the folder is ever run. It
does not know tensors (no torch here): the door reads limits from it, weights and decoder their
shapes. config_keys knows the fields that every family shares.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import InvalidModel
from .architectures import Architecture, Either, Part, Parts
from .config_keys import refuse_foreign, without_effect
from .family import family_of
from .model_json import Fields, read_json
from .parts.rope import Rope, read_ropes, unread_rope_fields
from .parts.windows import layer_windows
from .text.end_tokens import Ends, StatedEnds, TokenizerEnd, choose_ends, tokenizer_end


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer's attention: `scale` multiplies the products, `window` tokens are seen (None: all),
    `rope` is an index of `ModelConfig.ropes`.
    """

    scale: float
    window: int | None
    rope: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of a decoder. `max_context_tokens` bounds prompt plus output; `eos_ids` end a job
    unless it ignores them.

    `embedding_width` is `hidden` but for families that project between the two. `activation` is
    "silu", "gelu_tanh", "gelu" or "relu". `ropes` is empty where positions are learned. Caps:
    scores and logits s become cap * tanh(s / cap); None: they stay. `parts`: what the decoder is
    made of. `remarks`: what a person should know before the model is served, a sentence each;
    loading logs them.
    """

    architecture: Architecture
    layers: int
    hidden: int
    embedding_width: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab_size: int
    max_context_tokens: int
    norm_eps: float
    parts: Parts
    activation: str
    ropes: tuple[Rope, ...]
    attention: tuple[LayerShape, ...]
    attention_softcap: float | None
    logit_softcap: float | None
    tied_embeddings: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    bos_id: int | None
    eos_ids: tuple[int, ...]
    remarks: tuple[str, ...] = field(default=(), compare=False)


def load_config(folder: Path) -> ModelConfig:
    """Read and check config.json and generation_config.json.

    Raises InvalidModel for a missing or malformed file, an unknown architecture (naming the known
    ones), custom code, quantised weights, an unsupported rotary type or activation, or a number out
    of bounds.
    """
    if not folder.is_dir():
        raise InvalidModel("The model folder does not exist or is no folder.", field="model")
    raw = read_json(folder, "config.json")
    generation = read_json(folder, "generation_config.json", required=False)
    return config_of(raw, generation, tokenizer_end(folder, raw))


def config_of(raw: dict[str, Any], generation: dict[str, Any], tokens_end: TokenizerEnd | None = None) -> ModelConfig:
    """Of what the files hold; `generation` may be empty. Raises as `load_config` does."""
    architecture = family_of(raw)
    refuse_foreign(raw)
    fields = _fields(architecture, raw)
    _refuse_unserved(architecture, fields)
    vocab_size = fields.whole("vocab_size", 2, 2**24)
    ends = _ends(architecture, fields, generation, tokens_end, vocab_size)
    config = _model_config(architecture, fields, vocab_size, ends.ids)
    return replace(config, remarks=(*_remarks(architecture, fields, raw), *ends.remarks))


def _ends(
    architecture: Architecture,
    fields: Fields,
    generation: dict[str, Any],
    tokens_end: TokenizerEnd | None,
    vocab_size: int,
) -> Ends:
    return choose_ends(
        StatedEnds(
            config=fields.token_ids("eos_token_id", vocab_size) if fields.states("eos_token_id") else None,
            generation=Fields(generation, file="generation_config.json", whole_floats=True).token_ids(
                "eos_token_id", vocab_size
            ),
            tokenizer=tokens_end,
            family=architecture.end_token,
        ),
        vocab_size,
    )


def _model_config(architecture: Architecture, fields: Fields, vocab_size: int, eos_ids: tuple[int, ...]) -> ModelConfig:
    heads = fields.whole("num_attention_heads", 1, 1024)
    kv_heads = fields.whole("num_key_value_heads", 1, heads, default=heads)
    if heads % kv_heads:
        raise InvalidModel(
            f"{heads} attention heads cannot share {kv_heads} key-value heads evenly.", field="num_key_value_heads"
        )
    hidden = fields.whole("hidden_size", 2, 2**17)
    head_dim = fields.whole("head_dim", 1, 1024, default=hidden // heads)
    layers = fields.whole("num_hidden_layers", 1, 1024)
    context = fields.whole("max_position_embeddings", 2, 2**24, default=2048)
    ropes: tuple[Rope, ...] = ()
    if architecture.tensors.positions is None:
        ropes, context = read_ropes(architecture, fields, head_dim, context)
    bos_ids = fields.token_ids("bos_token_id", vocab_size)
    return ModelConfig(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        embedding_width=fields.whole("embedding_width", 1, 2**17, default=hidden)
        if architecture.tensors.embedding_in is not None
        else hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_intermediate(architecture, fields, hidden),
        vocab_size=vocab_size,
        max_context_tokens=context,
        norm_eps=fields.real("norm_eps", 0.0, 1.0, default=1e-6),
        parts=_parts(architecture, fields),
        activation=_activation(architecture, fields),
        ropes=ropes,
        attention=_attention(architecture, fields, layers, head_dim, context),
        attention_softcap=fields.maybe_real("attn_logit_softcapping", 1e-3, 1e6)
        if architecture.attention_softcap
        else None,
        logit_softcap=fields.maybe_real("final_logit_softcapping", 1e-3, 1e6),
        tied_embeddings=fields.flag("tie_word_embeddings"),
        qkv_bias=_said(architecture.qkv_bias, fields),
        out_bias=_said(architecture.out_bias, fields),
        mlp_bias=_said(architecture.mlp_bias, fields),
        bos_id=bos_ids[0] if bos_ids else None,
        eos_ids=eos_ids,
    )


def _parts(row: Architecture, fields: Fields) -> Parts:
    def chosen(part: Part | Either) -> Part:
        if isinstance(part, Part):
            return part
        return part.true if fields.flag(part.field) else part.false

    return Parts(
        layer=chosen(row.layer),
        norm=chosen(row.norm),
        attention=chosen(row.attention),
        query_key_norm=chosen(row.query_key_norm),
        mlp=chosen(row.mlp),
        embedding=chosen(row.embedding),
        head=chosen(row.head),
    )


def _fields(architecture: Architecture, raw: dict[str, Any]) -> Fields:
    """What describes the text model, by the family's spelling."""
    if architecture.section is not None:
        section = raw.get(architecture.section)
        if not isinstance(section, dict):
            raise InvalidModel(
                f"config.json has no object {architecture.section}, which describes the text model.",
                field=architecture.section,
            )
        refuse_foreign(section)
        outer = {name: raw[name] for name in ("bos_token_id", "eos_token_id") if raw.get(name) is not None}
        # Whether the head is the embedding is said by the whole model, not by its text part.
        section = {name: value for name, value in section.items() if name != "tie_word_embeddings"}
        tied = {"tie_word_embeddings": raw["tie_word_embeddings"]} if "tie_word_embeddings" in raw else {}
        raw = {**section, **outer, **tied}
    own = {name: value for name, value in raw.items() if name not in architecture.foreign}
    aliased = {own_name: raw[alias] for alias, own_name in architecture.aliases.items() if alias in raw}
    return Fields({**own, **aliased}, {"norm_eps": "rms_norm_eps", **architecture.spelled}, architecture.defaults)


def _remarks(architecture: Architecture, fields: Fields, raw: dict[str, Any]) -> list[str]:
    """What the folder says and is not done."""
    remarks = []
    if raw.get("auto_map"):
        remarks.append(
            "The folder brings code for its model (auto_map in config.json), which is never run: it is served as "
            f"{architecture.name}."
        )
    old, new = fields.section("rope_scaling"), fields.section("rope_parameters")
    if old and new and old != new and not architecture.local_rope:
        remarks.append(
            "config.json holds rope_scaling and rope_parameters, which differ: rope_scaling is taken, as in "
            "Transformers. Delete the other one."
        )
    section = raw if architecture.section is None else raw[architecture.section]
    unread = without_effect(section, (fields.read | set(architecture.aliases)) - set(architecture.foreign))
    if architecture.tensors.positions is None:
        unread += unread_rope_fields(fields)
    if unread:
        remarks.append(f"config.json: without effect on {architecture.name}: {', '.join(unread)}.")
    return remarks


def _refuse_unserved(architecture: Architecture, fields: Fields) -> None:
    for name, served in architecture.required.items():
        stated = fields.get(name)
        if stated is not None and stated != served:
            raise InvalidModel(
                f"{name} in config.json is {str(stated)[:40]}, which is not supported for {architecture.name}.",
                field=name,
                limit=str(served),
            )


def _intermediate(architecture: Architecture, fields: Fields, hidden: int) -> int:
    # Only GPT-2's files leave it out, and mean this; a family with a gate has no such habit.
    default = None if architecture.tensors.gated else 4 * hidden
    return fields.whole("intermediate_size", 1, 2**20, default=default)


def _activation(architecture: Architecture, fields: Fields) -> str:
    name = fields.get("hidden_act")
    known = architecture.activations
    if name is None:
        return next(iter(known.values()))
    if not isinstance(name, str) or name not in known:
        raise InvalidModel(
            f"The activation {str(name)[:40]!r} is not supported for {architecture.name}.",
            field=fields.spelling("hidden_act"),
            limit=", ".join(known),
        )
    return known[name]


def _attention(
    architecture: Architecture, fields: Fields, layers: int, head_dim: int, context: int
) -> tuple[LayerShape, ...]:
    scale = fields.real("query_pre_attn_scalar", 1e-6, 1e6, default=float(head_dim)) ** -0.5
    scales = [scale] * layers
    if architecture.layer_scale:
        scale = scale if fields.flag("scale_attn_weights", default=True) else 1.0
        by_layer = fields.flag("scale_attn_by_inverse_layer_idx")
        scales = [scale / (i + 1) if by_layer else scale for i in range(layers)]
    windows = layer_windows(architecture, fields, layers, context)
    return tuple(
        LayerShape(scale, window, 1 if architecture.local_rope and window is not None else 0)
        for scale, window in zip(scales, windows, strict=True)
    )


def _said(bias: bool | str, fields: Fields) -> bool:
    return fields.flag(bias) if isinstance(bias, str) else bias
