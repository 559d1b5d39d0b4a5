"""Attention over shuffled, poisoned pools against the reference in float64."""

from __future__ import annotations

import math

import numpy as np
import torch
from nearness import DTYPES, assert_near, refuses

from skipjoin.kernels import ragged_attention
from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.compiled import attention
from skipjoin.kernels.compiled.tiles import cut
from skipjoin.kernels.compiled.tuning import AttentionSizes
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch, pages_of
from skipjoin.kernels.ragged_attention import AttentionShape

LAYERS, LAYER = 2, 1


class World:
    """NaN wherever no sequence has a token; sequence i has `contexts[i]` tokens in random pages,
    its last `counts[i]` are queries.
    """

    def __init__(self, device, dtype, heads, kv_heads, head_dim, page_tokens, contexts, counts, seed):
        torch.manual_seed(seed)
        self.layout = KvLayout(LAYERS, kv_heads, page_tokens, head_dim)
        needed = pages_of(np.array(contexts), page_tokens).tolist()
        order = torch.randperm(sum(needed) + 3).tolist()
        pool = torch.full(self.layout.pool_shape(len(order)), math.nan, dtype=dtype)
        # Behind the pages of a table stands what no kernel may follow.
        tables = torch.full((len(contexts), max(needed, default=0) + 1), 2**30, dtype=torch.int32)
        for i, (context, pages) in enumerate(zip(contexts, needed, strict=True)):
            own = torch.tensor([order.pop() for _ in range(pages)], dtype=torch.int32)
            tables[i, :pages] = own
            for position in range(context):
                place = pool[own[position // page_tokens], :, :, :, position % page_tokens]
                place.copy_(torch.randn(place.shape))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.batch = RaggedBatch(tables.to(device), starts, np.array(contexts, dtype=np.int64))
        self.kv = PagedKv(pool.to(device), self.layout)
        rows = int(starts[-1])
        # As the decoder has them: query heads in front of keys and values.
        self.qkv = torch.randn(rows + 2, heads + 2 * kv_heads, head_dim).to(dtype).to(device)
        self.queries = self.qkv[:, :heads]
        self.out = torch.full((rows + 2, heads, head_dim), math.nan, dtype=dtype, device=device)

    def expected(self, shape):
        wide = PagedKv(self.kv.pool.double(), self.layout)
        out = torch.full(self.out.shape, math.nan, dtype=torch.float64, device=self.out.device)
        ragged_attention.attend(wide, LAYER, shape, self.batch, self.queries.double(), out)
        return out


def batch(
    device, dtype, heads, kv_heads, head_dim, page_tokens, contexts, counts, seed, window=None, softcap=None, sizes=None
):
    """One launch over sequences of any kind; `sizes` None: as the product would choose."""
    world = World(device, DTYPES[dtype], heads, kv_heads, head_dim, page_tokens, contexts, counts, seed)
    shape = AttentionShape(heads, head_dim**-0.5, window, softcap)
    tiles = None
    if sizes is not None:
        tiles = cut(world.batch, heads // kv_heads, window, AttentionSizes(*sizes, 4, 1), brings_to(world.out.device))
    attention.attend(world.kv, LAYER, shape, world.batch, world.queries, world.out, tiles=tiles, checked=True)
    rows = world.batch.rows
    assert world.out[rows:].isnan().all(), "rows of others were touched"
    return assert_near(world.out[:rows], world.expected(shape)[:rows]) if rows else 0.0


def alone_and_in_company(device, dtype, seed):
    """A decode's numbers are the same bits alone and beside other decodes."""
    contexts = [75, 3, 40, 1]
    world = World(device, DTYPES[dtype], 4, 2, 16, 4, contexts, [1] * 4, seed)
    shape = AttentionShape(4, 0.25)
    sizes = AttentionSizes(16, 16, 32, 64, 4, 1)
    attention.attend(
        world.kv,
        LAYER,
        shape,
        world.batch,
        world.queries,
        world.out,
        tiles=cut(world.batch, 2, None, sizes, brings_to(world.out.device)),
    )
    for i, context in enumerate(contexts):
        lonely = RaggedBatch(world.batch.tables[i : i + 1], np.array([0, 1]), np.array([context]))
        out = torch.full_like(world.out[:1], math.nan)
        tiles = cut(lonely, 2, None, sizes, brings_to(out.device))
        attention.attend(world.kv, LAYER, shape, lonely, world.queries[i : i + 1], out, tiles=tiles)
        assert torch.equal(out[0], world.out[i])


def checked(device, page, entry):
    """A page outside of the pool among those that would be read."""
    world = World(device, torch.float32, 2, 1, 16, 4, [9, 6], [1, 2], seed=1)
    world.batch.tables[1, entry] = page
    shape = AttentionShape(2, 0.25)
    before = world.out.clone()
    for attend in (attention.attend, ragged_attention.attend):
        refuses(
            lambda attend=attend: attend(world.kv, LAYER, shape, world.batch, world.queries, world.out, checked=True)
        )
    assert torch.equal(before.isnan(), world.out.isnan()), "it began before it refused"


def neighbours_stay_apart(device, dtype):
    """A sequence whose own keys are NaN gives NaN, and nobody else does; the tables are int64 here."""
    world = World(device, DTYPES[dtype], 4, 2, 16, 4, [20, 9, 30], [1, 5, 1], seed=3)
    world.kv.pool[world.batch.tables[1, :3].long()] = math.nan
    wide = RaggedBatch(world.batch.tables.long(), world.batch.starts, world.batch.contexts)
    attention.attend(world.kv, LAYER, AttentionShape(4, 0.25), wide, world.queries, world.out)
    assert world.out[1:6].isnan().all() and world.out[[0, 6]].isfinite().all()
