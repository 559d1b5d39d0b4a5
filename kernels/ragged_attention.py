"""Attention of a ragged batch over block tables, in plain torch: the oracle of the compiled kernel.

Owns `AttentionShape` and the reference `attend`, one sequence after the other. It knows neither
jobs nor devices. Tests compare the compiled kernel with it; on a CPU the decoder keeps to
`paged_attention`, whose padded groups are quicker and know neither windows nor soft caps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .layout import PagedKv
from .ragged import RaggedBatch, pages_of


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What one layer's attention looks like.

    `heads` query heads, a multiple of the layout's KV heads; `scale` multiplies the products;
    `window`: a query sees at most that many tokens, itself included (Mistral 7B, Jiang et al.
    2023); `softcap`: scores s become softcap * tanh(s / softcap) (Gemma 2, 2024). None: without.
    """

    heads: int
    scale: float
    window: int | None = None
    softcap: float | None = None

    def __post_init__(self) -> None:
        assert self.window is None or self.window >= 1, "a query sees at least itself"
        assert self.softcap is None or self.softcap > 0, "a cap of 0 would make all scores alike"


def attend(
    kv: PagedKv,
    layer: int,
    shape: AttentionShape,
    batch: RaggedBatch,
    queries: Tensor,
    out: Tensor,
    *,
    checked: bool = False,
) -> None:
    """Fill the batch's rows of `out` with softmax(q k^T * scale) v; `queries` and `out` [rows,
    heads, head_dim].

    The keys and values of the rows themselves are in their pages already. `checked` refuses tables
    that leave the pool, with IndexError.
    """
    if checked:
        check_tables(kv, batch)
    wide = torch.float32 if queries.dtype in (torch.float16, torch.bfloat16) else queries.dtype
    pages = pages_of(batch.contexts, kv.layout.page_tokens).tolist()
    for i, (first, end) in enumerate(zip(batch.starts[:-1].tolist(), batch.starts[1:].tolist(), strict=True)):
        if first < end:
            gather = kv.gather_index(batch.tables[i : i + 1, : pages[i]].long())
            context = int(batch.contexts[i])
            both = kv.head_blocks[layer].index_select(0, gather).view(2, kv.layout.kv_heads, -1, kv.layout.head_dim)
            keys, values = both[:, :, :context].to(wide)
            out[first:end] = _dense(queries[first:end].to(wide), keys, values, shape).to(out.dtype)


def _dense(queries: Tensor, keys: Tensor, values: Tensor, shape: AttentionShape) -> Tensor:
    """[n, heads, head_dim] for the last n of a context's tokens; keys and values [kv_heads,
    context, head_dim].
    """
    kv_heads, context, head_dim = keys.shape
    count = len(queries)
    grouped = queries.view(count, kv_heads, -1, head_dim)
    scores = torch.einsum("nkgd,kcd->kgnc", grouped, keys) * shape.scale
    if shape.softcap is not None:
        scores = (scores / shape.softcap).tanh() * shape.softcap
    key = torch.arange(context, device=queries.device)
    query = key[context - count :, None]
    unseen = key > query
    if shape.window is not None:
        unseen |= key <= query - shape.window
    shares = scores.masked_fill(unseen, float("-inf")).softmax(dim=-1)
    return torch.einsum("kgnc,kcd->nkgd", shares, values).reshape(count, -1, head_dim)


def check_tables(kv: PagedKv, batch: RaggedBatch) -> None:
    """Raise IndexError when a page that would be read is not one of the pool's, or a sequence has
    queries that its context has not. On a device this waits for the tables.
    """
    if ((batch.counts < 0) | (batch.counts > batch.contexts)).any():
        raise IndexError("The queries of a sequence are not part of its context.")
    needed = pages_of(batch.contexts, kv.layout.page_tokens)
    tables = batch.tables.cpu().numpy()
    pages = len(kv.pool)
    for i, count in enumerate(needed.tolist()):
        used = tables[i, :count]
        if len(used) < count:
            raise IndexError(f"The block table of sequence {i} has {len(used)} entries, its context needs {count}.")
        if count and not 0 <= int(used.min()) <= int(used.max()) < pages:
            raise IndexError(f"The block table of sequence {i} names a page outside of the pool of {pages}.")
