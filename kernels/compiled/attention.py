"""Attention of decodes and prefill chunks over block tables, in one launch.

Owns two kernels: one walks the keys of a tile with a running softmax (Dao et al. 2022), cut over
the context where that is long (Flash-Decoding, Dao et al. 2023), one merges what was cut. They know
tiles, not jobs. The query heads of one KV head are rows of one tile, so that its keys are read once
for all of them. The decoder's dispatch calls `attend`; the reference is `..ragged_attention`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..bring import brings_to
from ..layout import PagedKv
from ..ragged import RaggedBatch
from ..ragged_attention import AttentionShape, check_tables
from .launch import DTYPES, OPTIONS, is_interpreted
from .tiles import Tiles, cut
from .tuning import attention_sizes, power_of_two

_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    """tanh from exp, which is quick and loses digits near 0; there the first terms of its series
    are exact to 1e-7.
    """
    square = x * x
    series = x * (1 - square * (1 / 3 - square * (2 / 15 - square * (17 / 315))))
    decay = tl.exp(-2 * tl.abs(x))
    large = (1 - decay) / (1 + decay)
    return tl.where(tl.abs(x) < 0.25, series, tl.where(x < 0, -large, large))


@triton.jit
def _scored(  # type: ignore[no-untyped-def]
    q, k, key, there, at, scale, softcap, WINDOW: tl.constexpr, CAPPED: tl.constexpr
):  # fmt: skip
    """Scores [rows, keys] as powers of two, minus infinity where a row does not see a key."""
    # "ieee": the default rounds float32 operands to 10 bits.
    scores = tl.dot(q, k, input_precision="ieee") * scale
    if CAPPED:
        scores = _tanh(scores / softcap) * softcap
    seen = there[None, :] & (key[None, :] <= at[:, None])
    if WINDOW > 0:
        seen = seen & (key[None, :] > at[:, None] - WINDOW)
    return tl.where(seen, scores * _LOG2_E, float("-inf"))


@triton.jit
def _put_part(  # type: ignore[no-untyped-def]
    stats, partial, place, d, stats_stride, best, mass, mixed, WIDTH: tl.constexpr
):  # fmt: skip
    """What `_merge` reads of rows of which other parts see other keys."""
    tl.store(stats + place, best)
    tl.store(stats + stats_stride + place, mass)
    tl.store(partial + place[:, None] * WIDTH + d[None, :], mixed)


@triton.jit(do_not_specialize=["table_stride"])
def _attend(  # type: ignore[no-untyped-def]
    queries, out, pool, tables, items, partial, stats, query_stride, out_stride, table_stride, page_stride,
    stats_stride, scale, softcap, GROUP: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    PAGE_TOKENS: tl.constexpr, WINDOW: tl.constexpr, CAPPED: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    WIDTH: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    item = items + tl.program_id(0) * 8
    kv_head = tl.program_id(1)
    sequence, first_row, count = tl.load(item).to(tl.int64), tl.load(item + 1), tl.load(item + 2)
    position, first_key, end_key, slot = tl.load(item + 3), tl.load(item + 4), tl.load(item + 5), tl.load(item + 6)
    m, d = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    in_head = d < HEAD_DIM
    row = (first_row + m // GROUP).to(tl.int64)
    head = kv_head * GROUP + m % GROUP
    live = (m // GROUP < count)[:, None] & in_head[None, :]
    q = tl.load(queries + row[:, None] * query_stride + head[:, None] * HEAD_DIM + d[None, :], mask=live, other=0.0)
    q = q.to(tl.float32) if UPCAST else q
    at = position + m // GROUP
    keys = pool + kv_head * (PAGE_TOKENS * HEAD_DIM)
    values = keys + KV_HEADS * PAGE_TOKENS * HEAD_DIM
    best = tl.full((ROWS,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS,), tl.float32)
    mixed = tl.zeros((ROWS, WIDTH), tl.float32)
    for start in range(first_key, end_key, KEYS):
        key = start + tl.arange(0, KEYS)
        there = key < end_key
        page = tl.load(tables + sequence * table_stride + key // PAGE_TOKENS, mask=there, other=0).to(tl.int64)
        place = page * page_stride + (key % PAGE_TOKENS) * HEAD_DIM
        # Only what is in the context is loaded: numbers behind it may be anything, and 0 * NaN
        # would come through.
        k = tl.load(keys + place[None, :] + d[:, None], mask=there[None, :] & in_head[:, None], other=0.0)
        v = tl.load(values + place[:, None] + d[None, :], mask=there[:, None] & in_head[None, :], other=0.0)
        if UPCAST:
            k, v = k.to(tl.float32), v.to(tl.float32)
        scores = _scored(q, k, key, there, at, scale, softcap, WINDOW, CAPPED)
        higher = tl.maximum(best, tl.max(scores, 1))
        # A row that has seen nothing yet would subtract infinity from infinity.
        anchor = tl.where(higher == float("-inf"), 0.0, higher)
        share = tl.exp2(scores - anchor[:, None])
        decay = tl.exp2(best - anchor)
        mass = mass * decay + tl.sum(share, 1)
        mixed = tl.dot(share.to(v.dtype), v, mixed * decay[:, None], input_precision="ieee")
        best = higher
    if slot < 0:
        mixed = mixed / tl.where(mass > 0, mass, 1.0)[:, None]
        target = out + row[:, None] * out_stride + head[:, None] * HEAD_DIM + d[None, :]
        tl.store(target, mixed.to(out.dtype.element_ty), mask=live)
    else:
        place = (slot * KV_HEADS + kv_head).to(tl.int64) * ROWS + m
        _put_part(stats, partial, place, d, stats_stride, best, mass, mixed, WIDTH)


@triton.jit
def _merge(  # type: ignore[no-untyped-def]
    out, merges, partial, stats, out_stride, stats_stride,
    GROUP: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    entry = merges + tl.program_id(0) * 4
    kv_head = tl.program_id(1)
    first_row, count, first_slot, parts = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2), tl.load(entry + 3)
    m, d = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    best = tl.full((ROWS,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS,), tl.float32)
    mixed = tl.zeros((ROWS, WIDTH), tl.float32)
    for part in range(parts):
        place = ((first_slot + part) * KV_HEADS + kv_head).to(tl.int64) * ROWS + m
        other = tl.load(stats + place)
        higher = tl.maximum(best, other)
        anchor = tl.where(higher == float("-inf"), 0.0, higher)
        decay, share = tl.exp2(best - anchor), tl.exp2(other - anchor)
        mass = mass * decay + tl.load(stats + stats_stride + place) * share
        mixed = mixed * decay[:, None] + tl.load(partial + place[:, None] * WIDTH + d[None, :]) * share[:, None]
        best = higher
    row = (first_row + m // GROUP).to(tl.int64)
    head = kv_head * GROUP + m % GROUP
    live = (m // GROUP < count)[:, None] & (d < HEAD_DIM)[None, :]
    mixed = mixed / tl.where(mass > 0, mass, 1.0)[:, None]
    target = out + row[:, None] * out_stride + head[:, None] * HEAD_DIM + d[None, :]
    tl.store(target, mixed.to(out.dtype.element_ty), mask=live)


def tiles_for(kv: PagedKv, shape: AttentionShape, batch: RaggedBatch) -> Tiles:
    """The cut of a batch for layers of `shape`, once per iteration."""
    group = shape.heads // kv.layout.kv_heads
    device = kv.pool.device
    sizes = attention_sizes(device, kv.pool.dtype, group, kv.layout.head_dim, batch.longest > 1)
    return cut(batch, group, shape.window, sizes, batch.bring or brings_to(device))


def attend(
    kv: PagedKv,
    layer: int,
    shape: AttentionShape,
    batch: RaggedBatch,
    queries: Tensor,
    out: Tensor,
    *,
    tiles: Tiles | None = None,
    checked: bool = False,
) -> None:
    """As the reference; `tiles` of `tiles_for` serve all layers of one window. Sums are float32
    whatever the dtype.
    """
    layout = kv.layout
    assert shape.heads % layout.kv_heads == 0 and queries.shape[1:] == out.shape[1:] == (shape.heads, layout.head_dim)
    assert queries.stride(2) == out.stride(2) == 1 and queries.stride(1) == out.stride(1) == layout.head_dim
    assert queries.dtype == out.dtype == kv.pool.dtype and out.dtype in DTYPES
    assert batch.tables.stride(1) == 1 or batch.tables.shape[1] == 1
    if checked:
        check_tables(kv, batch)
    tiles = tiles_for(kv, shape, batch) if tiles is None else tiles
    if not len(tiles.items):
        return
    sizes, width = tiles.sizes, power_of_two(layout.head_dim)
    stats = torch.empty(2, tiles.slots, layout.kv_heads, sizes.rows, dtype=torch.float32, device=out.device)
    partial = torch.empty(tiles.slots, layout.kv_heads, sizes.rows, width, dtype=torch.float32, device=out.device)
    common = {"GROUP": shape.heads // layout.kv_heads, "KV_HEADS": layout.kv_heads, "HEAD_DIM": layout.head_dim}
    common |= {"ROWS": sizes.rows, "WIDTH": width, "num_warps": sizes.warps}
    _attend[(len(tiles.items), layout.kv_heads)](
        queries, out, kv.pool[:, layer], batch.tables, tiles.items, partial, stats,
        queries.stride(0), out.stride(0), batch.tables.stride(0), kv.pool.stride(0), stats.stride(0),
        shape.scale, 1.0 if shape.softcap is None else shape.softcap,
        PAGE_TOKENS=layout.page_tokens, WINDOW=shape.window or 0, CAPPED=shape.softcap is not None, KEYS=sizes.keys,
        UPCAST=is_interpreted(_attend) and out.dtype == torch.bfloat16, num_stages=sizes.stages, **common, **OPTIONS,
    )  # fmt: skip
    if len(tiles.merges):
        _merge[(len(tiles.merges), layout.kv_heads)](
            out, tiles.merges, partial, stats, out.stride(0), stats.stride(0), **common, **OPTIONS
        )
