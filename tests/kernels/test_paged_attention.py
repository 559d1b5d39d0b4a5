"""Paged attention against dense attention, one sequence at a time, in float64; and a neighbour's
bad numbers stay with the neighbour.
"""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels import paged_attention
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged_attention import AttentionShape

torch.set_num_threads(1)


def dense(queries, keys, values):
    """softmax(q k^T / sqrt(d)) v for one sequence whose last n tokens are the queries: [n, heads,
    d], keys [context, kv_heads, d].
    """
    n, heads, width = queries.shape
    context, kv_heads, _ = keys.shape
    out = torch.empty_like(queries)
    for head in range(heads):
        kv = head // (heads // kv_heads)
        for i in range(n):
            seen = context - n + i + 1
            scores = (keys[:seen, kv] @ queries[i, head]) / math.sqrt(width)
            out[i, head] = scores.softmax(0) @ values[:seen, kv]
    return out


class World:
    """A pool with foreign numbers everywhere, and sequences whose keys and values lie in random
    pages.
    """

    def __init__(self, layout, heads, contexts, seed):
        self.layout, self.heads = layout, heads
        torch.manual_seed(seed)
        widths = [-(-context // layout.page_tokens) for context in contexts]
        order = list(range(sum(widths) + 3))
        random.Random(seed).shuffle(order)
        self.kv = PagedKv(torch.randn(layout.pool_shape(len(order)), dtype=torch.float64) * 50, layout)
        self.tables = [[order.pop() for _ in range(width)] for width in widths]
        self.spare = order
        shape = (layout.layers, 2, layout.kv_heads, layout.head_dim)
        self.truth = [torch.randn(context, *shape, dtype=torch.float64) for context in contexts]

    def write(self, sequence, positions):
        pages = torch.tensor([self.tables[sequence][p // self.layout.page_tokens] for p in positions])
        offsets = torch.tensor([p % self.layout.page_tokens for p in positions])
        index = self.kv.write_index(pages, offsets)
        for layer in range(self.layout.layers):
            both = self.truth[sequence][positions, layer].reshape(len(positions), -1, self.layout.head_dim)
            paged_attention.write_kv(self.kv, layer, index, both)


layouts = st.builds(KvLayout, st.integers(1, 3), st.sampled_from([1, 2, 3]), st.integers(1, 5), st.sampled_from([2, 8]))


@given(layouts, st.integers(1, 3), st.lists(st.integers(1, 23), min_size=1, max_size=6), st.integers(0, 999))
def test_decode_group_is_dense_attention(layout, group, contexts, seed):
    world = World(layout, layout.kv_heads * group, contexts, seed)
    for i, context in enumerate(contexts):
        world.write(i, list(range(context)))
    width = max(len(table) for table in world.tables)
    # Padding repeats a page of the row's own.
    tables = torch.tensor([table + [table[0]] * (width - len(table)) for table in world.tables])
    metadata = paged_attention.decode_group(world.kv, 1, tables, torch.tensor(contexts))
    shape = AttentionShape(world.heads, layout.head_dim**-0.5)
    queries = torch.randn(len(contexts) + 2, world.heads, layout.head_dim, dtype=torch.float64)
    for layer in range(layout.layers):
        out = torch.full_like(queries, 7.0)
        paged_attention.decode_attention(world.kv, layer, shape, metadata, queries, out)
        for i, truth in enumerate(world.truth):
            expected = dense(queries[i + 1 : i + 2], truth[:, layer, 0], truth[:, layer, 1])
            torch.testing.assert_close(out[i + 1 : i + 2], expected, rtol=1e-9, atol=1e-9)
        assert (out[0] == 7.0).all() and (out[-1] == 7.0).all(), "rows of others were touched"


@given(layouts, st.integers(1, 3), st.integers(0, 17), st.integers(1, 19), st.integers(0, 999))
def test_chunk_over_a_cached_prefix_is_dense_attention(layout, group, prefix, size, seed):
    context = prefix + size
    world = World(layout, layout.kv_heads * group, [context], seed)
    if prefix:
        world.write(0, list(range(prefix)))
    world.write(0, list(range(prefix, context)))
    span = paged_attention.chunk_span(world.kv, 2, size, torch.tensor(world.tables[0]), context)
    shape = AttentionShape(world.heads, layout.head_dim**-0.5)
    queries = torch.randn(size + 3, world.heads, layout.head_dim, dtype=torch.float64)
    for layer in range(layout.layers):
        out = torch.full_like(queries, 7.0)
        paged_attention.chunk_attention(world.kv, layer, shape, span, queries, out)
        expected = dense(queries[2 : 2 + size], world.truth[0][:, layer, 0], world.truth[0][:, layer, 1])
        torch.testing.assert_close(out[2 : 2 + size], expected, rtol=1e-9, atol=1e-9)
        assert (out[:2] == 7.0).all() and (out[-1] == 7.0).all()


def test_a_write_touches_its_own_slots_only():
    layout = KvLayout(layers=2, kv_heads=2, page_tokens=4, head_dim=2)
    world = World(layout, 2, [6], seed=1)
    before = world.kv.pool.clone()
    world.write(0, [4])
    changed = (world.kv.pool != before).nonzero()
    page = world.tables[0][1]
    assert {tuple(place[[0, 4]].tolist()) for place in changed} == {(page, 0)}
    assert len(changed) == 2 * 2 * 2 * 2
    assert torch.equal(world.kv.pool[page, :, :, :, 0], world.truth[0][4])


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_neighbours_bad_numbers_stay_there(poison):
    """Padding never reads a foreign page: a job whose numbers overflowed must not reach another."""
    layout = KvLayout(layers=1, kv_heads=1, page_tokens=4, head_dim=2)
    world = World(layout, 1, [9, 4], seed=2)
    world.write(0, list(range(9)))
    world.write(1, list(range(4)))
    own = world.tables[1][0]
    world.kv.pool[[p for p in range(len(world.kv.pool)) if p != own]] = poison
    tables = torch.tensor([[own, own, own]])
    metadata = paged_attention.decode_group(world.kv, 0, tables, torch.tensor([4]))
    out = torch.empty(1, 1, 2, dtype=torch.float64)
    paged_attention.decode_attention(world.kv, 0, AttentionShape(1, 0.5), metadata, torch.ones_like(out), out)
    assert out.isfinite().all()
