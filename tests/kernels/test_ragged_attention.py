"""The ragged reference against its formula, number by number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch
from skipjoin.kernels.ragged_attention import AttentionShape, attend

torch.set_num_threads(1)

LAYOUT = KvLayout(layers=2, kv_heads=2, page_tokens=3, head_dim=4)
HEADS = 4


def world(contexts, counts, seed):
    """(pool, batch, queries): every page but those of the tables is NaN, and so is what lies behind
    a context.
    """
    torch.manual_seed(seed)
    widths = [-(-context // LAYOUT.page_tokens) for context in contexts]
    order = torch.randperm(sum(widths) + 2)
    pool = torch.full(LAYOUT.pool_shape(len(order)), math.nan, dtype=torch.float64)
    tables = torch.full((len(contexts), max(widths)), -1)
    taken = 0
    for i, width in enumerate(widths):
        tables[i, :width] = order[taken : taken + width]
        taken += width
        for position in range(contexts[i]):
            place = pool[tables[i, position // LAYOUT.page_tokens], :, :, :, position % LAYOUT.page_tokens]
            place.copy_(torch.randn(place.shape))
    starts = np.concatenate([[0], np.cumsum(counts)])
    queries = torch.randn(int(starts[-1]) + 1, HEADS, LAYOUT.head_dim, dtype=torch.float64)
    return PagedKv(pool, LAYOUT), RaggedBatch(tables, starts, np.array(contexts)), queries


def formula(kv, batch, shape, sequence, query, head):
    """One query row of one head, with sums over single numbers."""
    position = int(batch.contexts[sequence] - (batch.starts[sequence + 1] - batch.starts[sequence])) + query
    first = 0 if shape.window is None else max(0, position - shape.window + 1)

    def stored(kind, at):
        page = int(batch.tables[sequence, at // LAYOUT.page_tokens])
        return kv.pool[page, 1, kind, head // (HEADS // LAYOUT.kv_heads), at % LAYOUT.page_tokens].tolist()

    def score(q, at):
        product = shape.scale * sum(a * b for a, b in zip(q, stored(0, at), strict=True))
        return product if shape.softcap is None else shape.softcap * math.tanh(product / shape.softcap)

    def row(q):
        shares = [math.exp(score(q, at)) for at in range(first, position + 1)]
        seen = [stored(1, at) for at in range(first, position + 1)]
        return [sum(s * v[i] for s, v in zip(shares, seen, strict=True)) / sum(shares) for i in range(LAYOUT.head_dim)]

    return row


sequences = st.lists(
    st.integers(1, 11).flatmap(lambda c: st.tuples(st.just(c), st.integers(0, c))), min_size=1, max_size=4
)


@given(sequences, st.sampled_from([None, 1, 4]), st.sampled_from([None, 0.7]), st.integers(0, 999))
def test_attend_is_its_formula(members, window, softcap, seed):
    contexts, counts = [list(column) for column in zip(*members, strict=True)]
    kv, batch, queries = world(contexts, counts, seed)
    shape = AttentionShape(HEADS, 0.6, window, softcap)
    out = torch.full_like(queries, 7.0)
    attend(kv, 1, shape, batch, queries, out, checked=True)
    assert (out[batch.rows :] == 7.0).all()
    for sequence, count in enumerate(counts):
        for query in range(count):
            at = int(batch.starts[sequence]) + query
            for head in range(HEADS):
                want = formula(kv, batch, shape, sequence, query, head)(queries[at, head].tolist())
                assert out[at, head].tolist() == pytest.approx(want, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("change", ["negative", "beyond", "short"])
def test_checked_refuses_a_table_that_leaves_the_pool(change):
    kv, batch, queries = world([8, 5], [1, 2], seed=2)
    if change == "short":
        batch = RaggedBatch(batch.tables[:, :2], batch.starts, batch.contexts)
    else:
        batch.tables[1, 1] = -1 if change == "negative" else len(kv.pool)
    out = torch.zeros_like(queries)
    with pytest.raises(IndexError, match="sequence 0" if change == "short" else "sequence 1"):
        attend(kv, 0, AttentionShape(HEADS, 1.0), batch, queries, out, checked=True)
    assert not out.any()


def test_what_is_padding_is_not_refused():
    kv, batch, queries = world([8, 2], [1, 1], seed=3)
    assert (batch.tables[1, 1:] == -1).all()
    out = torch.empty_like(queries)
    attend(kv, 0, AttentionShape(HEADS, 1.0), batch, queries, out, checked=True)
    assert out[:2].isfinite().all()
