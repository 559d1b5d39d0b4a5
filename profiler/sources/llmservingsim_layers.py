"""LLMServingSim's older tables: every layer of a model over 1 to 2048 tokens, nanoseconds.

Owns their columns. It knows of the attention sweep only that it has Vidur's form; `detect` calls
it.

* layers     layer_name, input, kv_cache, tp_size, latency(ns): all operators, `attn` for prompts
             without context
* attention  Vidur's form; optional. Without it attention over a context is estimated: of chunks by
             the pairs of tokens of the longest measured prompt, of decodes by the speed at which an
             iteration of one token reads the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.errors import InvalidProfile
from ...cost.schema import Profile
from ...cost.table import Curve
from .choice import single
from .grids import Points, curve_of, profile_of_halves
from .known import Shape, check_model, named_in, shape_of
from .reading import Row, Wish, column_named, read_rows
from .vidur import ATTENTION, attention_points

LAYERS = ("layer_name", "input", "kv_cache", "tp_size", "latency(ns)")
_ONCE = ("embedding", "final_layernorm")
_EACH = (
    "input_layernorm",
    "q_proj",
    "k_proj",
    "v_proj",
    "rope",
    "o_proj",
    "post_layernorm",
    "gate_proj",
    "up_proj",
    "act_fn",
    "down_proj",
)
_HEAD, _ATTENTION = "lm_head", "attn"
_ALL = (*_ONCE, *_EACH, _HEAD, _ATTENTION)
_MEMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (0, 64, 256, 1024, 4096, 16384)

Parts = dict[str, dict[int, float]]


def fits(files: Sequence[Path]) -> bool:
    """Whether the files are such tables."""
    return bool(column_named(files, LAYERS))


def read(files: Sequence[Path], wish: Wish) -> Profile:
    """The profile of one model on one device. Raises InvalidProfile."""
    path = single(column_named(files, LAYERS), "table of layers")
    name = wish.model if (found := named_in(path.name)) is None else found
    if name is None:
        raise InvalidProfile(f"{path.name} does not say which model it is about; give --model.", field="model")
    check_model(wish, name)
    shape = shape_of(name)
    parts, ranks = _parts(read_rows(path, LAYERS), path.name, wish)
    tokens, sequences = _tokens(parts, shape.layers), curve_of(parts[_HEAD], _HEAD)
    sweeps = column_named(files, ATTENTION)
    used = [path, *sweeps]
    if sweeps:
        sweep = single(sweeps, "sweep of attention")
        attention = attention_points(sweep, ranks, (shape.hidden, shape.kv_heads), shape.layers)
        how = "Attention as measured"
    else:
        attention = _estimated(parts[_ATTENTION], shape, ranks, tokens(1) + sequences(1))
        how = "Attention over a context estimated from the speed at which one token reads the weights"
    return profile_of_halves(
        tokens,
        sequences,
        attention,
        shape,
        wish,
        model_name=name,
        file=path.name,
        tensor_parallel=ranks,
        source=f"Layer tables of casys-kaist/LLMServingSim (MIT): {', '.join(one.name for one in used)}. {how}; "
        "sampling, collectives and the host's share are not in them.",
    )


def _parts(rows: list[Row], file: str, wish: Wish) -> tuple[Parts, int]:
    degrees = {row.whole("tp_size", 1) for row in rows}
    ranks = wish.tensor_parallel or min(degrees)
    if ranks not in degrees:
        limit = f"one of {', '.join(map(str, sorted(degrees)))}"
        raise InvalidProfile(f"{file} has no rows for tensor parallel {ranks}.", field="tensor_parallel", limit=limit)
    parts: Parts = {name: {} for name in _ALL}
    for row in rows:
        name = row.text("layer_name")
        if name not in parts:
            row.fail("layer_name", f"{name[:40]!r} is no layer of this format", f"one of {', '.join(parts)}")
        if row.whole("tp_size", 1) == ranks and row.whole("kv_cache") == 0:
            parts[name][row.whole("input", 1)] = row.real("latency(ns)")
    for name, points in parts.items():
        if not points:
            raise InvalidProfile(f"{file}: column layer_name: {name} is missing.", field="layer_name", limit=name)
    return parts, ranks


def _tokens(parts: Parts, layers: int) -> Curve:
    times = dict.fromkeys(_ONCE, 1) | dict.fromkeys(_EACH, layers)
    shared = set.intersection(*(set(parts[name]) for name in times))
    return curve_of({at: sum(count * parts[name][at] for name, count in times.items()) for at in shared}, "input")


def _estimated(prompts: dict[int, float], shape: Shape, ranks: int, one_token_ns: float) -> tuple[Points, Points]:
    """Attention over contexts that nobody measured; `one_token_ns` is an iteration that reads every
    weight once.
    """
    longest = max(prompts)
    pair_ns = prompts[longest] / (longest * (longest + 1) / 2)
    lengths = [at for at in sorted(prompts) if at & (at - 1) == 0 or at == longest]
    prefill = {
        (length, before): shape.layers * (prompts[length] + pair_ns * length * before)
        for length in lengths
        for before in _CONTEXTS
    }
    byte_ns = one_token_ns * ranks / shape.weight_bytes
    floor_ns, token_ns = shape.layers * prompts[min(prompts)], byte_ns * shape.token_bytes / ranks
    decode = {
        (members, context): floor_ns + token_ns * members * context for members in _MEMBERS for context in _CONTEXTS
    }
    return prefill, decode
