"""Contests of attention: decodes, ragged prefill over cached prefixes, and both in one batch.

Owns the pool with its shuffled tables and what each contestant gets to see. SDPA and FlexAttention
have no block tables: they are given keys and values that lie side by side already, one call for
sequences that are alike, which spares them what paging costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ....kernels import ragged_attention
from ....kernels.layout import PagedKv
from ....kernels.ragged import RaggedBatch, pages_of
from ....kernels.ragged_attention import AttentionShape
from ..race import Contestant, Work
from .contest import OURS, REFERENCE, Contest, Ground, contest_of
from .scenario import Case

TRUTH_ROWS = 512
"""Query rows of which the truth is computed at once: its scores are dense and of eight bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Sequences in scattered pages.

    `alike`: (first row, count, queries, context, first sequence) of sequences that are alike.
    """

    kv: PagedKv
    layer: int
    batch: RaggedBatch
    slots: Tensor
    queries: Tensor
    alike: tuple[tuple[int, int, int, int, int], ...]


def make_world(ground: Ground, case: Case) -> World:
    """Random keys, values and queries; pages in random order, decodes by falling context, chunks
    behind them.
    """
    model, device = ground.model, ground.device
    ordered = sorted(case.sequences, key=lambda one: (one.queries > 1, -one.context))
    counts = np.array([one.queries for one in ordered for _ in range(one.count)], dtype=np.int64)
    contexts = np.array([one.context for one in ordered for _ in range(one.count)], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    needed = pages_of(contexts, model.page_tokens)
    layout = ground.layout(model.pool_layers)
    pool = ground.randn(*layout.pool_shape(int(needed.sum())))
    order = np.random.default_rng(0).permutation(int(needed.sum()))
    tables = np.zeros((len(counts), int(needed.max())), dtype=np.int64)
    slots = np.empty(int(starts[-1]), dtype=np.int64)
    alike, used, sequence = [], 0, 0
    for i, pages in enumerate(needed.tolist()):
        tables[i, :pages] = order[used : used + pages]
        used += pages
        positions = np.arange(contexts[i] - counts[i], contexts[i])
        slots[starts[i] : starts[i + 1]] = tables[i, positions // model.page_tokens] * model.page_tokens
        slots[starts[i] : starts[i + 1]] += positions % model.page_tokens
    for one in ordered:
        alike.append((int(starts[sequence]), one.count, one.queries, one.context, sequence))
        sequence += one.count
    # As the decoder has them: in front of keys and values.
    qkv = ground.randn(len(slots), model.heads + 2 * model.kv_heads, model.head_dim)
    batch = RaggedBatch(torch.from_numpy(tables).to(device), starts, contexts)
    on_device = torch.from_numpy(slots).to(device)
    return World(PagedKv(pool, layout), model.pool_layers - 1, batch, on_device, qkv[:, : model.heads], tuple(alike))


def truth(world: World, shape: AttentionShape) -> Tensor:
    """float64[rows, heads, head_dim] by the reference, some rows at a time."""
    batch = world.batch
    out = torch.empty(world.queries.shape, dtype=torch.float64, device=world.queries.device)
    for i in range(len(batch.contexts)):
        first, end, context = int(batch.starts[i]), int(batch.starts[i + 1]), int(batch.contexts[i])
        for start in range(first, end, TRUTH_ROWS):
            stop = min(end, start + TRUTH_ROWS)
            seen = np.array([context - (end - stop)], dtype=np.int64)
            part = RaggedBatch(batch.tables[i : i + 1], np.array([0, stop - start], dtype=np.int64), seen)
            ragged_attention.attend(
                world.kv, world.layer, shape, part, world.queries[start:stop].double(), out[start:stop]
            )
    return out


def attention_contest(ground: Ground, case: Case, flex: bool) -> Contest:
    """All that can attend, over one world."""
    model, kernels = ground.model, ground.subject.kernels
    world = make_world(ground, case)
    shape = AttentionShape(model.heads, model.head_dim**-0.5)
    # As the decoder calls it: what is prepared once for all layers is not timed.
    prepared = kernels.prepare(world.kv, world.batch, world.slots)

    def ours(out: Tensor) -> None:
        kernels.attend(world.kv, world.layer, shape, prepared, world.queries, out)

    def plain(out: Tensor) -> None:
        ragged_attention.attend(world.kv, world.layer, shape, world.batch, world.queries, out)

    contestants = [_filling(OURS, world, ours), _filling(REFERENCE, world, plain, graphable=False)]
    dense = [_dense(world, group) for group in world.alike]
    contestants.append(_by_group("sdpa", world, [_sdpa(*one) for one in dense]))
    made = _flex(dense) if flex else {}
    if not isinstance(made, dict):
        contestants.append(_by_group("flex", world, made))
    counts, contexts = world.batch.counts, world.batch.contexts
    pairs = int((counts * contexts - counts * (counts - 1) // 2).sum())
    moved = 2 * int(contexts.sum()) * model.kv_heads * model.head_dim + 2 * world.queries.numel()
    work = Work(moved * ground.dtype.itemsize, 4 * pairs * model.heads * model.head_dim)
    contest = contest_of(ground, case, contestants, lambda: truth(world, shape), work)
    return replace(contest, absent=made) if isinstance(made, dict) else contest


def _filling(name: str, world: World, attend: Callable[[Tensor], None], *, graphable: bool = True) -> Contestant:
    out = torch.empty_like(world.queries, memory_format=torch.contiguous_format)

    def result() -> Tensor:
        out.fill_(float("nan"))
        attend(out)
        return out

    return Contestant(name, lambda: attend(out), result, graphable)


Dense = tuple[Tensor, Tensor, Tensor]
Attend = Callable[[], Tensor]


def _dense(world: World, group: tuple[int, int, int, int, int]) -> Dense:
    """Queries [count, heads, queries, head_dim]; keys, values [count, kv_heads, context, head_dim]."""
    first, count, queries, context, sequence = group
    layout = world.kv.layout
    pages = int(pages_of(np.array([context]), layout.page_tokens)[0])
    gather = world.kv.gather_index(world.batch.tables[sequence : sequence + count, :pages])
    both = world.kv.head_blocks[world.layer].index_select(0, gather)
    keys, values = both.view(2, count, layout.kv_heads, -1, layout.head_dim)[..., :context, :].contiguous()
    asked = world.queries[first : first + count * queries].reshape(count, queries, -1, layout.head_dim)
    return asked.transpose(1, 2).contiguous(), keys, values


def _by_group(name: str, world: World, parts: list[Attend]) -> Contestant:
    def run() -> list[Tensor]:
        return [part() for part in parts]

    def result() -> Tensor:
        mixed = [part.transpose(1, 2).reshape(-1, *world.queries.shape[1:]) for part in run()]
        return torch.cat(mixed)

    return Contestant(name, run, result)


def _unseen(queries: int, context: int, device: torch.device) -> Tensor:
    key = torch.arange(context, device=device)
    return key <= key[context - queries :, None]


def _sdpa(queries: Tensor, keys: Tensor, values: Tensor) -> Attend:
    count, heads, length, head_dim = queries.shape
    context = keys.shape[2]
    if length == 1:
        # The heads of a KV head as rows of one product: the quickest form there is for one new
        # token.
        rows = queries.view(count, keys.shape[1], -1, head_dim)
        return lambda: scaled_dot_product_attention(rows, keys, values).reshape(count, heads, 1, head_dim)
    if length == context:
        return lambda: scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    mask = _unseen(length, context, queries.device)
    return lambda: scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=True)


def _flex(dense: list[Dense]) -> list[Attend] | dict[str, str]:
    """One compiled call for each group; or who is absent, and why."""
    from torch import _dynamo
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    _dynamo.reset()  # otherwise the shapes of former contests count against the compiler's limit
    compiled: Any = torch.compile(flex_attention, dynamic=False)

    def one(queries: Tensor, keys: Tensor, values: Tensor) -> Attend:
        length, context = queries.shape[2], keys.shape[2]
        behind = context - length

        def causal(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return key <= query + behind

        mask = None
        if length > 1:
            mask = create_block_mask(causal, None, None, length, context, device=str(queries.device))
        call: Attend = lambda: compiled(queries, keys, values, block_mask=mask, enable_gqa=True)  # noqa: E731
        call()
        return call

    try:
        return [one(*each) for each in dense]
    except (RuntimeError, ValueError, OSError) as why:
        return {"flex": f"does not compile here ({type(why).__name__})"}
