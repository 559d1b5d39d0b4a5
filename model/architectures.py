"""What tells one model family from another, as one row.

Owns `Architecture` and what a row is made of: what the tensors are called, which parts the decoder
has, and how config.json spells its fields. It does not read files or hold tensors, and names parts
without importing them: the door reads rows and needs no torch. families/ has the rows, registry.py
finds them, config and weights are driven by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from typing import Any

from ..core.errors import InvalidModel


@dataclass(frozen=True, slots=True)
class Part:
    """A class of a decoder's part: the module that has it, and its name there. It is imported when a
    model is loaded.
    """

    module: str
    name: str

    def load(self) -> Any:
        """The class. Raises InvalidModel where there is none."""
        try:
            return getattr(import_module(self.module), self.name)
        except (ImportError, AttributeError) as missing:
            raise InvalidModel(
                f"The part {self.name[:80]} of a row in skipjoin.architectures cannot be had from "
                f"{self.module[:80]}: {missing}.",
                field="architectures",
            ) from missing


@dataclass(frozen=True, slots=True)
class Either:
    """One part where a field of config.json is true, another where it is false or left out."""

    field: str
    true: Part
    false: Part


def shipped(module: str, name: str) -> Part:
    """A class of `model/parts`."""
    return Part(f"{__package__}.parts.{module}", name)


class Norm:
    """RMS: x / rms(x) * w (Zhang and Sennrich 2019). RMS_OFFSET: times 1 + w instead (Gemma).
    LAYER: to mean 0 and variance 1, w and bias.
    """

    RMS = shipped("norm", "RmsNorm")
    RMS_OFFSET = shipped("norm", "OffsetRmsNorm")
    LAYER = shipped("norm", "LayerNorm")


class Layer:
    """How attention and MLP are wired to the stream through all layers. PRE_NORM: a norm in front of
    each. SANDWICH: norms in front and behind, before the sum. POST_NORM: a norm behind each sum.
    """

    PRE_NORM = shipped("layer", "PreNorm")
    SANDWICH = shipped("layer", "Sandwich")
    POST_NORM = shipped("layer", "PostNorm")


class QueryKeyNorm:
    """What happens to queries and keys before they are turned. NONE: nothing. EACH_HEAD: a norm of
    each head.
    """

    NONE = shipped("attention", "AsProjected")
    EACH_HEAD = shipped("attention", "EachHead")


ATTENTION = shipped("attention", "Attention")
MLP = shipped("mlp", "Mlp")
EMBEDDING = shipped("embedding", "Embedding")
HEAD = shipped("head", "Head")
"""What nearly every family has."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a decoder, chosen by row and config.json."""

    layer: Part = Layer.PRE_NORM
    norm: Part = Norm.RMS
    attention: Part = ATTENTION
    query_key_norm: Part = QueryKeyNorm.NONE
    mlp: Part = MLP
    embedding: Part = EMBEDDING
    head: Part = HEAD


class Windows(Enum):
    """Which layers see no further than `sliding_window` tokens.

    NONE: no layer. ALL: every layer. LATE: from `max_window_layers` on, if `use_sliding_window`.
    PATTERN: all but every n-th, where n is `sliding_window_pattern`. LATE and PATTERN give way to
    `layer_types` where config.json has it; with NONE and ALL it must say the same.
    """

    NONE = "none"
    ALL = "all"
    LATE = "late"
    PATTERN = "pattern"


SILU = {"silu": "silu", "swish": "silu"}
GELU_TANH = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_python_tanh": "gelu_tanh"}
GELU = {"gelu": "gelu", "gelu_python": "gelu"}
"""What config.json may call an activation -> what it is. `gelu_new` and `gelu_python_tanh` are the
same tanh form, written out.
"""

GATED_ACTIVATIONS = frozenset({"silu", "gelu_tanh"})
PLAIN_ACTIVATIONS = frozenset({"silu", "gelu_tanh", "gelu", "relu"})
"""What an MLP with a gate, and one without, can compute."""


@dataclass(frozen=True, slots=True)
class TensorNames:
    """What a family calls its tensors, without `.weight` and `.bias`; `{i}` stands for the layer.
    None: the family has no such tensor.

    Either `qkv` or all three of query, key, value; either `gate_up`, or `gate` and `up`, or `up`
    alone for an MLP without a gate. `query_norm`, `key_norm`: of queries and keys.
    `attention_norm`, `mlp_norm`: in front of a layer's halves; None for layers that read the stream
    as it is. `after_attention_norm`, `after_mlp_norm`: of what the halves give, before it is added.
    `positions`: learned position embeddings. `embedding_in`, `embedding_out`: between an embedding
    narrower than the decoder and the decoder.
    """

    embedding: str = "model.embed_tokens"
    positions: str | None = None
    embedding_in: str | None = None
    embedding_out: str | None = None
    final_norm: str = "model.norm"
    head: str = "lm_head"
    attention_norm: str | None = "model.layers.{i}.input_layernorm"
    qkv: str | None = None
    query: str | None = "model.layers.{i}.self_attn.q_proj"
    key: str | None = "model.layers.{i}.self_attn.k_proj"
    value: str | None = "model.layers.{i}.self_attn.v_proj"
    query_norm: str | None = None
    key_norm: str | None = None
    attention_out: str = "model.layers.{i}.self_attn.o_proj"
    after_attention_norm: str | None = None
    mlp_norm: str | None = "model.layers.{i}.post_attention_layernorm"
    gate_up: str | None = None
    gate: str | None = "model.layers.{i}.mlp.gate_proj"
    up: str | None = "model.layers.{i}.mlp.up_proj"
    down: str = "model.layers.{i}.mlp.down_proj"
    after_mlp_norm: str | None = None

    @property
    def gated(self) -> bool:
        """Whether the MLP is down(act(gate(x)) * up(x)); else down(act(up(x)))."""
        return self.gate is not None or self.gate_up is not None

    @property
    def of_qkv(self) -> tuple[str, ...]:
        """The tensors that give queries, keys and values."""
        return _named(self.qkv) or _named(self.query, self.key, self.value)

    @property
    def of_mlp(self) -> tuple[str, ...]:
        """The tensors of the MLP's first product."""
        return _named(self.gate_up) or _named(self.gate, self.up)


def _named(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family. `name` is what config.json lists under `architectures`; everything else has the
    value of Llama unless a row says otherwise.

    Of the files. `model_type`: what config.json says there for this family, and what finds the row
    where `architectures` is missing. `spelled`: our name of a field (Llama's) -> this family's.
    `aliases`: other spellings of a field -> the family's; an alias that is stated wins. `foreign`:
    fields that other families have and this one leaves unread, by their spelling there. `defaults`:
    by the family's spelling, what a config.json means that leaves the field out. `end_token`: the
    end token of a folder that names none. `required`: fields that must have this value where they
    are stated, because another one asks for what the decoder does not do. `section`: the object
    inside config.json that describes the text model. `prefixes`: (in the file, in this row), the
    first that fits renames a tensor. `ignored`: suffixes of tensors that files carry and nobody
    needs; `other_parts`: prefixes of tensors of parts that are not served. `transposed`: products
    are stored [in, out].

    Of the decoder. `layer`, `norm`, `attention`, `query_key_norm`, `mlp`, `embedding`, `head`: its
    parts, or by which field of config.json one is chosen. `*_bias`: a truth, or the field that says
    it. `position_offset`: rows in front of position 0. `activations`: what config.json may call the
    activation -> what it is.
    `embedding_scaled`: embeddings are multiplied by sqrt(hidden). `local_rope`: windowed layers
    have a rotary embedding of their own. `partial_rotary`: `partial_rotary_factor` is heeded.
    `long_rope_names`: the rotary types that are LongRoPE in this family. `attention_softcap`:
    `attn_logit_softcapping` is heeded. `layer_scale`: `scale_attn_weights` and
    `scale_attn_by_inverse_layer_idx` are.

    `tiny`: what stands in the config.json of its preset, a small random model, beside the shape;
    None: it has none.
    """

    name: str
    tensors: TensorNames = TensorNames()
    model_type: str | None = None
    spelled: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ("query_pre_attn_scalar", "final_logit_softcapping", "sliding_window_pattern")
    defaults: Mapping[str, Any] = field(default_factory=dict)
    end_token: int | None = None
    required: Mapping[str, Any] = field(default_factory=dict)
    section: str | None = None
    prefixes: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ("rotary_emb.inv_freq",)
    other_parts: tuple[str, ...] = ()
    transposed: bool = False
    layer: Part | Either = Layer.PRE_NORM
    norm: Part | Either = Norm.RMS
    attention: Part | Either = ATTENTION
    query_key_norm: Part | Either = QueryKeyNorm.NONE
    mlp: Part | Either = MLP
    embedding: Part | Either = EMBEDDING
    head: Part | Either = HEAD
    qkv_bias: bool | str = False
    out_bias: bool | str = False
    mlp_bias: bool | str = False
    activations: Mapping[str, str] = field(default_factory=lambda: SILU)
    windows: Windows = Windows.NONE
    position_offset: int = 0
    embedding_scaled: bool = False
    local_rope: bool = False
    partial_rotary: bool = False
    long_rope_names: tuple[str, ...] = ("longrope",)
    attention_softcap: bool = False
    layer_scale: bool = False
    tiny: Mapping[str, Any] | None = None

    def contradiction(self) -> str | None:
        """What keeps this row from describing a decoder; None where nothing does."""
        names = self.tensors
        if (names.qkv is None) == (None in (names.query, names.key, names.value)):
            return "it must name either qkv, or query, key and value"
        if names.gate_up is None and names.up is None:
            return "it must name gate_up or up"
        if (names.query_norm is None) != (names.key_norm is None):
            return "it must name both head norms or none"
        if names.query_norm is not None and self.query_key_norm == QueryKeyNorm.NONE:
            return "it names head norms, and its query_key_norm is none"
        if names.query_norm is None and self.query_key_norm == QueryKeyNorm.EACH_HEAD:
            return "it names no head norms, and its query_key_norm is of each head"
        behind = {names.after_attention_norm is not None, names.after_mlp_norm is not None}
        if len(behind) == 2 or (self.layer == Layer.SANDWICH) != (True in behind):
            return "it must name both norms behind a layer's halves where its layer is a sandwich, and only there"
        if (names.embedding_in is None) != (names.embedding_out is None):
            return "it must name both embedding_in and embedding_out or none"
        known = GATED_ACTIVATIONS if names.gated else PLAIN_ACTIVATIONS
        if not self.activations or not set(self.activations.values()) <= known:
            return f"its activations can be {', '.join(sorted(known))}"
        return None
