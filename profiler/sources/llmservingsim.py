"""LLMServingSim's tables of vLLM operators: dense, per_sequence and attention, microseconds a
layer.

Owns their columns and how operators add up to an iteration. It knows no other format; `detect`
calls it.

* dense         layer, tokens, time_us: what works on every token; `embedding` and `final_layernorm`
                once, others in every layer, `layernorm` twice
* per_sequence  layer, sequences, time_us: logits and sampler, once
* attention     prefill_chunk, kv_prefill, n_decode, kv_decode, time_us: one layer, a chunk behind
                its context beside decodes of equal context
* skew          regime (pure, mixed), n, t_mean_us, t_skew_us: the same for n decodes of equal and
                of unequal context with the same mean; optional

A real batch is never of equal contexts, so where the last table is there every attention time is
taken times the median of t_skew / t_mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from ...core.errors import InvalidProfile
from ...cost.schema import Profile
from ...cost.sweep_row import SweepRow
from ...cost.table import Curve, TableCostModel
from .choice import single
from .grids import curve_of, grid_of, profile_of_rows
from .known import check_model, device_of, kv_room, named_in, shape_of
from .reading import Row, Wish, column_named, read_rows

DENSE = ("layer", "tokens", "time_us")
PER_SEQUENCE = ("layer", "sequences", "time_us")
ATTENTION = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
SKEW = ("regime", "n", "t_mean_us", "t_skew_us")
_NS_PER_US = 1e3
_ONCE = ("embedding", "final_layernorm")
_PER_LAYER = {
    "layernorm": 2,
    "qkv_proj": 1,
    "rotary_emb": 1,
    "o_proj": 1,
    "gate_up_proj": 1,
    "act_fn": 1,
    "down_proj": 1,
}
_TAILS = ("lm_head", "sampler")

Attention = dict[tuple[int, int, int, int], float]


def fits(files: Sequence[Path]) -> bool:
    """Whether the files are such tables."""
    return bool(column_named(files, DENSE) and column_named(files, ATTENTION))


def read(files: Sequence[Path], wish: Wish) -> Profile:
    """The profile of one model on one device. Raises InvalidProfile."""
    dense, tails, attention = (
        single(column_named(files, columns), what)
        for columns, what in (
            (DENSE, "dense table"),
            (PER_SEQUENCE, "per_sequence table"),
            (ATTENTION, "attention table"),
        )
    )
    name = wish.model if (found := named_in(dense.name)) is None else found
    if name is None:
        raise InvalidProfile(f"{dense.name} does not say which model it is about; give --model.", field="model")
    check_model(wish, name)
    degree = _degree(dense.name, wish)
    shape, kv_tokens = shape_of(name), kv_room(wish)
    layers = shape.layers
    tokens = _tokens(read_rows(dense, DENSE), dense.name, layers)
    sequences = _sequences(read_rows(tails, PER_SEQUENCE), tails.name)
    skews = column_named(files, SKEW)
    uneven = _uneven(read_rows(single(skews, "skew table"), SKEW)) if skews else {}
    measured = _attention(read_rows(attention, ATTENTION), layers, uneven)
    tables = _tables(tokens, sequences, measured, wish, shape.token_bytes)
    return profile_of_rows(
        tables,
        list(_rows(tokens, sequences, measured)),
        wish,
        model_name=name,
        device=device_of(wish, [dense.name]),
        tensor_parallel=degree,
        kv_tokens=kv_tokens,
        token_bytes=shape.token_bytes,
        source="Operator tables of casys-kaist/LLMServingSim (MIT): "
        f"{', '.join(path.name for path in (dense, tails, attention, *skews))}. "
        "Kernels only: the host's share of an iteration is not in them.",
    )


def _degree(file: str, wish: Wish) -> int:
    found = re.search(r"_tp(\d+)", file)
    degree = int(found[1]) if found else (wish.tensor_parallel or 1)
    if wish.tensor_parallel not in (None, degree):
        raise InvalidProfile(
            f"{file} is for tensor parallel {degree}, not {wish.tensor_parallel}.",
            field="tensor_parallel",
            limit=str(degree),
        )
    return degree


def _by_layer(rows: Iterable[Row], over: str, known: Iterable[str]) -> dict[str, dict[int, float]]:
    parts: dict[str, dict[int, float]] = {name: {} for name in known}
    for row in rows:
        name, at = row.text("layer"), row.whole(over, 1)
        if name not in parts:
            row.fail("layer", f"{name[:40]!r} is no operator of this format", f"one of {', '.join(parts)}")
        if at in parts[name]:
            row.fail(over, f"{name} at {at} stands there twice")
        parts[name][at] = row.real("time_us") * _NS_PER_US
    return parts


def _added(parts: dict[str, dict[int, float]], times: dict[str, int], file: str, over: str) -> Curve:
    """The sum over operators at the places that all of them were measured at."""
    for name, points in parts.items():
        if not points:
            raise InvalidProfile(f"{file}: column layer: {name} is missing.", field="layer", limit=name)
    shared = set.intersection(*(set(points) for points in parts.values()))
    return curve_of({at: sum(times[name] * points[at] for name, points in parts.items()) for at in shared}, over)


def _tokens(rows: list[Row], file: str, layers: int) -> Curve:
    times = dict.fromkeys(_ONCE, 1) | {name: count * layers for name, count in _PER_LAYER.items()}
    return _added(_by_layer(rows, "tokens", times), times, file, "tokens")


def _sequences(rows: list[Row], file: str) -> Curve:
    times = dict.fromkeys(_TAILS, 1)
    return _added(_by_layer(rows, "sequences", times), times, file, "sequences")


def _uneven(rows: list[Row]) -> dict[str, Curve]:
    """For each regime how many times longer unequal contexts take, over the number of decodes."""
    ratios: dict[str, dict[int, list[float]]] = {"pure": {}, "mixed": {}}
    for row in rows:
        regime = row.text("regime")
        if regime not in ratios:
            row.fail("regime", f"{regime[:40]!r} is no regime", f"one of {', '.join(ratios)}")
        equal = row.real("t_mean_us")
        if equal == 0:
            row.fail("t_mean_us", "took no time", "above 0")
        ratios[regime].setdefault(row.whole("n", 1), []).append(row.real("t_skew_us") / equal)
    return {
        regime: Curve(tuple(float(n) for n in sorted(by_n)), tuple(median(by_n[n]) for n in sorted(by_n)))
        for regime, by_n in ratios.items()
        if by_n
    }


def _attention(rows: list[Row], layers: int, uneven: dict[str, Curve]) -> Attention:
    measured: Attention = {}
    for row in rows:
        chunk, before, jobs, context = (row.whole(column) for column in ATTENTION[:4])
        if not chunk and not jobs:
            row.fail("n_decode", "a row without chunk and without decodes")
        key = (chunk, before if chunk else 0, jobs, context if jobs else 0)
        if key in measured:
            row.fail("prefill_chunk", "the same batch stands there twice")
        curve = uneven.get("mixed" if chunk else "pure") if jobs > 1 else None
        # behind the last measured number of decodes the factor stays what it was there
        factor = 1.0 if curve is None else curve(min(jobs, curve.at[-1]))
        measured[key] = row.real("time_us") * _NS_PER_US * layers * factor
    return measured


def _tables(tokens: Curve, sequences: Curve, measured: Attention, wish: Wish, token_bytes: int) -> TableCostModel:
    alone = {(chunk, before): ns for (chunk, before, jobs, _), ns in measured.items() if not jobs}
    decode = {(jobs, context): ns for (chunk, _, jobs, context), ns in measured.items() if not chunk}
    extra: dict[tuple[int, int], list[float]] = {}
    for (chunk, before, jobs, context), ns in measured.items():
        if chunk and jobs and (chunk, before) in alone:
            extra.setdefault((jobs, context), []).append(max(ns - alone[chunk, before], 0.0))
    beside = {place: median(several) for place, several in extra.items()}
    return TableCostModel(
        tokens=tokens,
        sequences=sequences,
        prefill=grid_of(alone, "attention of chunks"),
        decode=grid_of(decode, "attention of decodes"),
        beside=grid_of(beside, "attention of decodes beside a chunk"),
        move_token_ns=token_bytes / wish.link_gbps if wish.link_gbps else 0.0,
    )


def _rows(tokens: Curve, sequences: Curve, measured: Attention) -> Iterator[SweepRow]:
    """Whole iterations with their attention as measured, for the fit and for the error of the
    tables.
    """
    for (chunk, before, jobs, context), ns in measured.items():
        rest = tokens(chunk + jobs) + sequences(jobs + bool(chunk))
        chunks = ((chunk, before),) if chunk else ()
        yield SweepRow(chunks, jobs, jobs * context, round(rest + ns))
