"""Vidur's sweeps: operators over tokens, attention over batches, collectives over sizes,
milliseconds.

Owns their columns and how they add up to an iteration. It knows no other format, but
LLMServingSim's older tables share its attention sweep: `detect` and `llmservingsim_layers` call it.

* operators    `time_stats.<op>.median` over num_tokens and num_tensor_parallel_workers, one layer;
               the model is in the file's name
* attention    attn_prefill over (prefill_chunk_size, kv_cache_size), attn_decode over (batch_size,
               kv_cache_size), one layer
* collectives  all_reduce over size in bytes and num_workers; a layer has two of them when there is
               more than one rank

Nothing was measured of logits, sampling and mixed batches: the first two cost nothing here, and a
mixed batch is the sum of its halves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from ...core.errors import InvalidProfile
from ...cost.schema import Profile
from ...cost.table import Curve
from .choice import single
from .grids import Points, curve_of, profile_of_halves
from .known import plain_name, shape_of
from .reading import Row, Wish, column_named, read_rows

_OPERATORS = (
    "input_layernorm",
    "attn_pre_proj",
    "attn_rope",
    "attn_post_proj",
    "post_attention_layernorm",
    "mlp_up_proj",
    "mlp_act",
    "mlp_down_proj",
    "add",
)
_SHAPE = ("n_embd", "n_kv_head")
_RANKS = "num_tensor_parallel_workers"
OPERATORS = (
    *(f"time_stats.{name}.median" for name in _OPERATORS),
    "time_stats.emb.median",
    "num_tokens",
    _RANKS,
    *_SHAPE,
)
PREFILL, DECODE = "time_stats.attn_prefill.median", "time_stats.attn_decode.median"
ATTENTION = (PREFILL, DECODE, *_SHAPE, _RANKS, "batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill")
COLLECTIVES = ("time_stats.all_reduce.median", "num_workers", "size")
_CHOOSE = "the model with --model, the device with SOURCE as what its paths begin with, as FOLDER/a100_"
_NS_PER_MS = 1e6
_HALF_PRECISION = 2


def fits(files: Sequence[Path]) -> bool:
    """Whether the files are such sweeps."""
    return bool(column_named(files, OPERATORS))


def read(files: Sequence[Path], wish: Wish) -> Profile:
    """The profile of one model at one degree of parallelism. Raises InvalidProfile."""
    tables = _about(column_named(files, OPERATORS), wish)
    operators = single(tables, "table of operators for the model", _CHOOSE)
    name = _name(operators)
    shape, attention = shape_of(name), single(column_named(files, ATTENTION), "sweep of attention", _CHOOSE)
    ranks = wish.tensor_parallel or _smallest_degree(operators, attention)
    rows = _at_degree(read_rows(operators, OPERATORS), ranks)
    hidden, kv_heads = rows[0].whole("n_embd", 1), rows[0].whole("n_kv_head", 1)
    if kv_heads != shape.kv_heads:
        rows[0].fail("n_kv_head", f"{kv_heads} is another model than {name}", str(shape.kv_heads))
    parts = [operators, attention]
    reduce: Curve | None = None
    if ranks > 1:
        collectives = single(column_named(files, COLLECTIVES), "sweep of all_reduce", _CHOOSE)
        parts.append(collectives)
        reduce = _all_reduce(collectives, ranks, hidden)
    return profile_of_halves(
        _tokens(rows, shape.layers, reduce),
        Curve((1.0,), (0.0,)),
        attention_points(attention, ranks, (hidden, kv_heads), shape.layers),
        shape,
        wish,
        model_name=name,
        file=operators.name,
        tensor_parallel=ranks,
        source=f"Sweeps of microsoft/vidur (MIT): {', '.join(path.name for path in parts)}. Logits, sampling and "
        "the host's share are not in them.",
    )


def _about(found: Sequence[Path], wish: Wish) -> list[Path]:
    if wish.model is None or not found:
        return list(found)
    named = [path for path in found if plain_name(_name(path)) == plain_name(wish.model)]
    if not named:
        limit = f"one of {', '.join(_name(path) for path in found)}"
        raise InvalidProfile(f"The source has no model {wish.model}.", field="model", limit=limit)
    return named


def _name(path: Path) -> str:
    return re.sub(r"^.*?mlp_", "", path.stem)


def _smallest_degree(operators: Path, attention: Path) -> int:
    """The smallest that both were measured at."""
    one, two = (
        {row.whole(_RANKS, 1) for row in read_rows(path, columns)}
        for path, columns in ((operators, OPERATORS), (attention, ATTENTION))
    )
    if not one & two:
        raise InvalidProfile(
            f"{operators.name} and {attention.name} have no tensor parallel in common.", field="tensor_parallel"
        )
    return min(one & two)


def _at_degree(rows: list[Row], ranks: int) -> list[Row]:
    kept = [row for row in rows if row.whole(_RANKS, 1) == ranks]
    if not kept:
        known = sorted({row.whole(_RANKS, 1) for row in rows})
        raise InvalidProfile(
            f"{rows[0].file} has no rows for tensor parallel {ranks}.",
            field="tensor_parallel",
            limit=f"one of {', '.join(map(str, known))}",
        )
    return kept


def _tokens(rows: Iterable[Row], layers: int, reduce: Curve | None) -> Curve:
    points: dict[int, list[float]] = {}
    for row in rows:
        tokens = row.whole("num_tokens", 1)
        layer = sum(row.real(f"time_stats.{name}.median") for name in _OPERATORS) * _NS_PER_MS
        if reduce is not None:
            layer += 2 * reduce(tokens)
        points.setdefault(tokens, []).append(layers * layer + row.real("time_stats.emb.median") * _NS_PER_MS)
    return curve_of({tokens: median(times) for tokens, times in points.items()}, "num_tokens")


def _all_reduce(path: Path, ranks: int, hidden: int) -> Curve:
    """Nanoseconds over tokens; a token is `hidden` numbers of two bytes."""
    points: dict[float, list[float]] = {}
    for row in read_rows(path, COLLECTIVES):
        if row.whole("num_workers", 1) == ranks:
            tokens = row.whole("size", 1) / (hidden * _HALF_PRECISION)
            points.setdefault(tokens, []).append(row.real(COLLECTIVES[0]) * _NS_PER_MS)
    if not points:
        raise InvalidProfile(f"{path.name} has no rows for {ranks} ranks.", field="num_workers", limit=str(ranks))
    return Curve(tuple(sorted(points)), tuple(median(points[at]) for at in sorted(points)))


def attention_points(path: Path, ranks: int, shape: tuple[int, int], layers: int) -> tuple[Points, Points]:
    """Attention of all layers in ns, of chunks over (chunk, context before) and of decodes over
    (members, context).

    `shape` is (hidden, KV heads) of the model. Raises InvalidProfile when the sweep is about
    another one.
    """
    prefill: dict[tuple[int, int], list[float]] = {}
    decode: dict[tuple[int, int], list[float]] = {}
    for row in _at_degree(read_rows(path, ATTENTION), ranks):
        found = (row.whole("n_embd", 1), row.whole("n_kv_head", 1))
        if found != shape:
            row.fail("n_embd", f"{found[0]} with {found[1]} KV heads is another model", f"{shape[0]} with {shape[1]}")
        context, kind = row.whole("kv_cache_size"), row.text("is_prefill")
        if kind not in ("True", "False"):
            row.fail("is_prefill", f"{kind[:40]!r} is neither", "True or False")
        if kind == "True":
            place, column, points = (row.whole("prefill_chunk_size", 1), context), PREFILL, prefill
        else:
            place, column, points = (row.whole("batch_size", 1), context), DECODE, decode
        points.setdefault(place, []).append(row.real(column) * _NS_PER_MS * layers)
    return (
        {place: median(times) for place, times in prefill.items()},
        {place: median(times) for place, times in decode.items()},
    )
