"""The rotary embedding that config.json asks for.

Owns `Rope` and the ways it has been written down: `rope_parameters`, flat or by kind of layer, and
the older `rope_theta` with `rope_scaling`, and which of them counts where there are several. It
does not compute a frequency (no torch here); frequencies.py does. config reads it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...core.errors import InvalidModel
from ..architectures import Architecture
from ..model_json import Fields

KNOWN = frozenset(
    {
        *("rope_type", "type", "rope_theta", "factor", "partial_rotary_factor", "original_max_position_embeddings"),
        *("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
        *("short_factor", "long_factor", "low_freq_factor", "high_freq_factor", "full_attention", "sliding_attention"),
    }
)
"""What Transformers reads in an object of a rotary embedding, of one type or another; `long_factor`
holds behind every context here.
"""
KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


@dataclass(frozen=True, slots=True)
class Rope:
    """One rotary embedding. `kind` is "default", "linear", "llama3", "yarn" or "short" (LongRoPE
    within its original context).

    The first `turned` elements of a head turn. `factor` is how much longer the context was made,
    `original_context_tokens` how long it was; `low` and `high` are llama3's low_freq_factor and
    high_freq_factor, or YaRN's beta_slow and beta_fast (turns in the original context);
    `truncated`: YaRN's bounds are whole numbers. `divisors` are LongRoPE's, one for each pair.
    Cosines and sines are multiplied by `magnitude`.
    """

    kind: str
    theta: float
    turned: int
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original_context_tokens: int = 8192
    truncated: bool = True
    divisors: tuple[float, ...] = ()
    magnitude: float = 1.0


def read_ropes(architecture: Architecture, fields: Fields, head_dim: int, context: int) -> tuple[tuple[Rope, ...], int]:
    """The rotary embeddings (full layers', then windowed layers' where they have their own) and the
    context that they hold for.

    A `rope_scaling` that is not empty takes the place of `rope_parameters` as a whole, as in
    Transformers; in a family with two embeddings it changes that of the full layers. Raises
    InvalidModel for a type that is not supported, or a number out of bounds.
    """
    old, new = fields.section("rope_scaling"), fields.section("rope_parameters")
    if not architecture.local_rope:
        chosen = _Source(fields, old or new, "rope_theta", original_outside=True)
        if any(isinstance(value, dict) for value in chosen.raw.values()):
            raise InvalidModel("rope_parameters must be one object for all layers.", field="rope_parameters")
        rope, context = _rope(architecture, chosen, head_dim, context)
        return (rope,), context
    _refuse_flat(new)
    if "type" in old and "rope_type" not in old:
        raise InvalidModel(
            f"rope_scaling of {architecture.name} must say rope_type: Transformers does not heed the older word "
            "type there.",
            field="rope_scaling",
            limit="rope_type",
        )
    full = _Source(fields, _with_outer(new, {**_nested(new, "full_attention"), **old}), "rope_theta")
    local = _Source(fields, _with_outer(new, _nested(new, "sliding_attention")), "rope_local_base_freq")
    rope, bound = _rope(architecture, full, head_dim, context)
    local_rope, local_bound = _rope(architecture, local, head_dim, context)
    return (rope, local_rope), min(bound, local_bound)


def unread_rope_fields(fields: Fields) -> list[str]:
    """What the objects hold that no rotary type knows, sorted: `rope_scaling.finetuned`."""
    unread = set()
    for name in ("rope_scaling", "rope_parameters"):
        found = fields.section(name)
        for inner in (found, *(value for value in found.values() if isinstance(value, dict))):
            unread |= {f"{name}.{key[:64]}" for key, value in inner.items() if key not in KNOWN and value is not None}
    return sorted(unread)[:16]


def _refuse_flat(parameters: dict[str, Any]) -> None:
    """A family with two embeddings has an object for each; what stands beside them would be left
    unread.
    """
    beside = sorted(set(parameters) - {"full_attention", "sliding_attention", "truncate"})
    if beside:
        raise InvalidModel(
            f"rope_parameters must hold an object for each kind of layer; {beside[0][:40]} stands outside of them.",
            field="rope_parameters",
            limit="full_attention and sliding_attention",
        )


def _nested(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    value = parameters.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidModel(f"rope_parameters.{name} must be an object.", field="rope_parameters")
    return value or {}


def _with_outer(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """Transformers reads `truncate` beside the two objects, not in them."""
    own = {name: value for name, value in inner.items() if name != "truncate"}
    return {**own, **({"truncate": outer["truncate"]} if "truncate" in outer else {})}


class _Source:
    """Where one embedding's numbers stand: its own object first, then fields beside it.

    `original_outside`: `original_max_position_embeddings` beside the object wins over the one in
    it, as in Transformers.
    """

    def __init__(self, fields: Fields, raw: dict[str, Any], theta_name: str, *, original_outside: bool = False) -> None:
        self.fields, self.raw, self.stated = fields, raw, Fields(raw)
        self._theta_name, self._original_outside = theta_name, original_outside

    def theta(self) -> float:
        """The base; in config.json's own field where the object says nothing."""
        outside = self.fields.real(self._theta_name, 1.0, 1e12, default=10000.0)
        return self.stated.real("rope_theta", 1.0, 1e12, default=outside)

    def part(self) -> float:
        """How much of a head turns."""
        outside = self.fields.real("partial_rotary_factor", 0.0, 1.0, default=1.0)
        return self.stated.real("partial_rotary_factor", 0.0, 1.0, default=outside)

    def original(self, context: int) -> int:
        """The context before it was made longer; all of it where nothing says so."""
        outside = self.fields.maybe_whole("original_max_position_embeddings", 2, 2**24)
        inside = self.stated.maybe_whole("original_max_position_embeddings", 2, 2**24)
        if self._original_outside and outside is not None:
            return outside
        return context if inside is None else inside


def _rope(architecture: Architecture, source: _Source, head_dim: int, context: int) -> tuple[Rope, int]:
    stated = source.stated
    kind = _kind(architecture, source.raw)
    turned = _turned(architecture, source.part(), head_dim)
    theta = source.theta()
    original = source.original(context)
    if kind in ("default", "dynamic"):
        # "dynamic" changes the frequencies only behind max_position_embeddings, and no context gets
        # that far here.
        return Rope("default", theta, turned), context
    if kind == "linear":
        return Rope("linear", theta, turned, stated.real("factor", 1.0, 1e6)), context
    if kind == "llama3":
        return _llama3(stated, theta, turned, original), context
    if kind == "yarn":
        rope = _yarn(stated, theta, turned, original, context)
        return rope, max(context, int(original * rope.factor))
    return _short(stated, theta, turned, original, context), min(context, original)


def _kind(architecture: Architecture, raw: dict[str, Any]) -> str:
    kind = raw.get("rope_type", raw.get("type", "default"))
    if kind in architecture.long_rope_names:
        return "longrope"
    if kind not in KINDS:
        raise InvalidModel(
            f"The rotary type {str(kind)[:40]!r} is not supported.", field="rope_type", limit=", ".join(KINDS)
        )
    return str(kind)


def _turned(architecture: Architecture, part: float, head_dim: int) -> int:
    if part != 1.0 and not architecture.partial_rotary:
        raise InvalidModel(
            "Partial rotary embedding is not supported for this architecture.", field="partial_rotary_factor", limit="1"
        )
    turned = int(head_dim * part)
    if turned < 2 or turned % 2:
        raise InvalidModel(
            f"{turned} of {head_dim} elements of a head would turn; rotary embedding needs an even number of them.",
            field="partial_rotary_factor" if part != 1.0 else "head_dim",
        )
    return turned


def _llama3(stated: Fields, theta: float, turned: int, original: int) -> Rope:
    factor = stated.real("factor", 1.0, 1e6)
    low, high = stated.real("low_freq_factor", 1e-6, 1e6), stated.real("high_freq_factor", 1e-6, 1e6)
    if not low < high:
        raise InvalidModel("high_freq_factor must be above low_freq_factor.", field="high_freq_factor")
    return Rope("llama3", theta, turned, factor, low, high, original)


def _yarn(stated: Fields, theta: float, turned: int, original: int, context: int) -> Rope:
    """YaRN (Peng et al. 2023): pairs that turn often keep their pace, slow ones are slowed by
    `factor`, and attention is sharpened a little.
    """
    factor = stated.real("factor", 1.0, 1e6, default=context / original)
    slow, fast = stated.real("beta_slow", 1e-6, 1e6, default=1.0), stated.real("beta_fast", 1e-6, 1e6, default=32.0)
    if not slow < fast:
        raise InvalidModel("beta_fast must be above beta_slow.", field="beta_fast")
    if theta == 1.0:
        raise InvalidModel("YaRN needs a rope_theta above 1.", field="rope_theta")
    over, under = stated.maybe_real("mscale", 0.0, 1e3), stated.maybe_real("mscale_all_dim", 0.0, 1e3)
    magnitude = stated.maybe_real("attention_factor", 1e-6, 1e6)
    if magnitude is None:
        magnitude = _sharper(factor, over) / _sharper(factor, under) if over and under else _sharper(factor, 1.0)
    truncated = stated.flag("truncate", default=not stated.states("truncate"))  # null is no yes
    return Rope("yarn", theta, turned, factor, slow, fast, original, truncated, magnitude=magnitude)


def _sharper(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1.0 else 1.0


def _short(stated: Fields, theta: float, turned: int, original: int, context: int) -> Rope:
    """LongRoPE (Ding et al. 2024) as it is within the original context.

    Behind it other divisors hold, also for the keys that are in the pages already: a context that
    grows past it would have to be computed again, so that none does.
    """
    divisors = stated.get("short_factor")
    if (
        not isinstance(divisors, list)
        or len(divisors) != turned // 2
        or not all(type(d) in (int, float) and 1e-6 <= d <= 1e6 for d in divisors)
    ):
        raise InvalidModel(f"short_factor must be a list of {turned // 2} positive numbers.", field="short_factor")
    factor = stated.real("factor", 1e-6, 1e6, default=context / original)
    magnitude = stated.maybe_real("attention_factor", 1e-6, 1e6)
    if magnitude is None:
        magnitude = 1.0 if factor <= 1.0 else math.sqrt(1 + math.log(factor) / math.log(original))
    return Rope("short", theta, turned, factor, divisors=tuple(map(float, divisors)), magnitude=magnitude)
