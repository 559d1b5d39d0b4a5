"""What a CPU computes against the ragged reference: windows, caps and scales, decodes beside chunks, poisoned pages that nobody owns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels import padded, ragged_attention, slots
from skipjoin.kernels.elementwise import rotary_angles
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch, pages_of
from skipjoin.kernels.ragged_attention import AttentionShape

torch.set_num_threads(1)

LAYOUT = KvLayout(layers=2, kv_heads=2, page_tokens=3, head_dim=4)
HEADS = 4


def world(members, seed, dtype):
    """(pool, batch, queries) for (context, rows) of each sequence; the pages of nobody are NaN, numbers behind a context are foreign."""
    torch.manual_seed(seed)
    contexts, counts = (np.array(column) for column in zip(*members, strict=True))
    pages = pages_of(contexts, LAYOUT.page_tokens)
    order = torch.randperm(int(pages.sum()) + 2)
    pool = torch.randn(LAYOUT.pool_shape(len(order))).to(dtype)
    pool[order[-2:]] = math.nan
    tables = torch.full((len(members), int(pages.max())), int(order[-1]))
    for i, (first, count) in enumerate(zip(np.cumsum(pages) - pages, pages, strict=True)):
        tables[i, :count] = order[first : first + count]
    starts = np.concatenate([[0], np.cumsum(counts)])
    queries = torch.randn(int(starts[-1]) + 1, HEADS, LAYOUT.head_dim).to(dtype)
    return PagedKv(pool, LAYOUT), RaggedBatch(tables, starts, contexts), queries


sequences = st.lists(
    st.integers(1, 40).flatmap(lambda c: st.tuples(st.just(c), st.one_of(st.just(1), st.integers(0, c)))),
    min_size=1,
    max_size=9,
)
shapes = st.builds(
    AttentionShape,
    st.just(HEADS),
    st.floats(0.01, 2.0),
    st.one_of(st.none(), st.integers(1, 45)),
    st.one_of(st.none(), st.floats(0.3, 60.0)),
)


@given(sequences, st.lists(shapes, min_size=1, max_size=3), st.integers(0, 999))
def test_attend_is_the_reference(members, layer_shapes, seed):
    """One prepared batch serves layers of different windows, caps and scales."""
    kv, batch, queries = world(members, seed, torch.float64)
    prepared = padded.prepare(kv, batch, torch.zeros(batch.rows, dtype=torch.int64))
    for shape in layer_shapes:
        want, got = torch.full_like(queries, 7.0), torch.full_like(queries, 7.0)
        ragged_attention.attend(kv, 1, shape, batch, queries, want, checked=True)
        padded.attend(kv, 1, shape, prepared, queries, got)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 5e-3), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_smaller_precisions_stay_near(dtype, tolerance, softcap):
    kv, batch, queries = world([(40, 1), (23, 1), (9, 9), (30, 7)], 1, getattr(torch, dtype))
    shape = AttentionShape(HEADS, 0.5, 12, softcap)
    exact = torch.empty_like(queries, dtype=torch.float64)
    ragged_attention.attend(PagedKv(kv.pool.double(), LAYOUT), 0, shape, batch, queries.double(), exact)
    got = torch.empty_like(queries)
    padded.attend(kv, 0, shape, padded.prepare(kv, batch, torch.zeros(batch.rows, dtype=torch.int64)), queries, got)
    rows = slice(0, batch.rows)
    assert (got[rows].double() - exact[rows]).abs().max() <= tolerance * exact[rows].abs().max()


@given(st.integers(0, 2), st.integers(0, 999))
def test_the_write_is_the_reference(pairs, seed):
    """All, half and none of a head's elements are turned."""
    torch.manual_seed(seed)
    pool = torch.randn(LAYOUT.pool_shape(5), dtype=torch.float64)
    first, second = PagedKv(pool.clone(), LAYOUT), PagedKv(pool.clone(), LAYOUT)
    qkv = torch.randn(4, HEADS + 2 * LAYOUT.kv_heads, LAYOUT.head_dim, dtype=torch.float64)
    places = torch.randperm(15)[:4]
    cos, sin = rotary_angles(torch.tensor([0, 3, 9, 77]), torch.rand(pairs), torch.float64)
    batch = RaggedBatch(torch.zeros(4, 1, dtype=torch.int64), np.arange(5), np.ones(4, dtype=np.int64))
    prepared = padded.prepare(second, batch, places)
    want, got = qkv.clone(), qkv.clone()
    slots.rotate_and_write(first, 1, want, cos, sin, places)
    padded.rotate_and_write(second, 1, got, cos, sin, prepared)
    torch.testing.assert_close(second.pool, first.pool)
    torch.testing.assert_close(got[:, :HEADS], want[:, :HEADS])
